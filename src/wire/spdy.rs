//! SPDY/3.1 as Kubernetes speaks it: the framing of exec, attach and port-forward.
//!
//! [`frame`] cuts a byte stream into frames and builds frames, [`headers`] (de)compresses header
//! blocks, [`connection`] follows the streams of one connection in both directions and tells it in the
//! words of [`event`].

pub mod connection;
pub mod event;
pub mod frame;
pub mod headers;

pub use connection::Connection;
pub use event::{ConnectionError, Event, Expected, StreamInfo, StreamType};
pub use frame::{Control, Decoder, Frame, FrameError};
pub use headers::{Deflater, HeaderBlock, HeaderError, Inflater};
