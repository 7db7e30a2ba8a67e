//! What callers start with: a kubeconfig, a login, and the token that kubectl asks for at each start.

mod cache;
mod obtain;
mod provider;

pub mod account;
pub mod exec;
pub mod get_token;
pub mod kubeconfig;
pub mod login;
pub mod logout;
pub mod whoami;
