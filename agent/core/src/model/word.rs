//! Words of ours.

use std::borrow::Cow;

/// A word from a fixed list, such as a cipher suite's name: a constant of ours, owned only where it
/// was read from JSON or has a number in it.
pub type Word = Cow<'static, str>;
