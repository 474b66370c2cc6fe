//! Collections for the paths that every packet takes.

/// A hash map that is quick for short keys. Its hash is seeded at random, yet weaker than the
/// standard library's: not for maps that grow with what a peer chooses.
pub type HashMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;
