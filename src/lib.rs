//! Portcullis, the streaming access gateway for Kubernetes.
//!
//! People, CI jobs and AI agents keep using stock `kubectl`, helm, k9s and client-go with an OIDC
//! token; the gateway holds the cluster credential. It verifies the token, decides by rule, masks
//! secrets while responses stream, relays shells under a tap and writes one audit event a request.
//!
//! The modules stand in the order in which a request meets them; [`gateway`] tells the story.

// -- the path of a request --
pub mod approval;
pub mod audit;
pub mod callers;
pub mod gateway;
pub mod identity;
pub mod listener;
pub mod policy;
pub mod recording;
pub mod request;
pub mod session;
pub mod transform;
pub mod upstream;

// -- what the path stands on --
pub mod wire;

// -- running it --
pub mod app;
pub mod cli;
pub mod config;
pub mod control;
pub mod limits;
pub mod metrics;
