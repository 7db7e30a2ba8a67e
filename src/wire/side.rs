//! Which end of a two-way protocol sent the bytes.

/// The sender of a direction: everything the client sends, or everything the server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The one that asked for the upgrade.
    Client,
    /// The API server, kubelet or container runtime.
    Server,
}

impl Side {
    /// The other end.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// One value for each direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Both<T> {
    /// For what the client sends.
    pub client: T,
    /// For what the server sends.
    pub server: T,
}

impl<T> Both<T> {
    /// The value of what `side` sends.
    pub fn of(&mut self, side: Side) -> &mut T {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }
}
