//! What do they want? [`RequestInfo`], exactly as the API server computes it.
