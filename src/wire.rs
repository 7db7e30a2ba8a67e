//! What the bytes mean: codecs without IO. Depends on nothing but `limits`.

pub mod asciicast;
pub mod budget;
pub mod channel;
pub mod events;
pub mod http1;
pub mod protobuf;
pub mod side;
pub mod spdy;
pub mod json;
pub mod websocket;
