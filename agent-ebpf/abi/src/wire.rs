//! Fixed-layout structs that are written by kernel programs and decoded without `unsafe`.

use core::fmt;

/// A field of a record, in the byte order of the machine (kernel and agent share it).
pub trait Field: Copy {
    /// Size in bytes.
    const SIZE: usize;

    /// Reads the field from the front of `bytes`; `None` when they are too few.
    fn read(bytes: &[u8]) -> Option<Self>;

    /// Writes the field to the front of `bytes`, as far as there is room.
    fn write(self, bytes: &mut [u8]);
}

macro_rules! integer_field {
    ($($int:ty),+) => {$(
        impl Field for $int {
            const SIZE: usize = size_of::<$int>();

            fn read(bytes: &[u8]) -> Option<Self> {
                bytes.first_chunk().copied().map(<$int>::from_ne_bytes)
            }

            fn write(self, bytes: &mut [u8]) {
                if let Some(to) = bytes.first_chunk_mut() {
                    *to = self.to_ne_bytes();
                }
            }
        }
    )+};
}

integer_field!(u8, u16, u32, u64);

/// Sixteen bytes in memory order, as two words: the programs copy and clear them in two steps,
/// where the compiler would call a byte-wise loop for an array of bytes.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Bytes16([u64; 2]);

impl Bytes16 {
    /// These bytes.
    #[must_use]
    pub fn new(bytes: [u8; 16]) -> Self {
        Self::read(&bytes).unwrap_or_default()
    }

    /// Two words, each in memory order.
    #[must_use]
    #[inline]
    pub const fn from_words(words: [u64; 2]) -> Self {
        Self(words)
    }

    /// The bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.write(&mut bytes);
        bytes
    }
}

impl fmt::Debug for Bytes16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_bytes().fmt(f)
    }
}

impl Field for Bytes16 {
    const SIZE: usize = <[u64; 2] as Field>::SIZE;

    fn read(bytes: &[u8]) -> Option<Self> {
        Field::read(bytes).map(Self)
    }

    fn write(self, bytes: &mut [u8]) {
        self.0.write(bytes);
    }
}

impl<T: Field + Default, const N: usize> Field for [T; N] {
    const SIZE: usize = N * T::SIZE;

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut array = [T::default(); N];
        for (i, item) in array.iter_mut().enumerate() {
            *item = T::read(bytes.get(i * T::SIZE..)?)?;
        }
        Some(array)
    }

    fn write(self, bytes: &mut [u8]) {
        for (item, to) in self.into_iter().zip(bytes.chunks_exact_mut(T::SIZE)) {
            item.write(to);
        }
    }
}

/// Declares a `repr(C)` struct of [`Field`]s with a size known to the reader, no implicit padding,
/// and conversions from and to bytes that follow the compiler's own field offsets.
macro_rules! wire_struct {
    (
        $(#[$meta:meta])*
        $name:ident: $size:literal {
            $($(#[$field_meta:meta])* $field:ident: $ty:ty,)+
        }
    ) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $ty,)+
        }

        const _: () = assert!(size_of::<$name>() == $size, "the layout is part of the contract");
        const _: () = assert!(
            0 $(+ <$ty as $crate::wire::Field>::SIZE)+ == $size,
            "padding must be spelled out: the kernel would leak or reject uninitialised bytes"
        );

        impl $name {
            /// Size in bytes.
            pub const SIZE: usize = $size;

            /// Decodes the front of `bytes`; `None` when they are fewer than [`Self::SIZE`].
            #[must_use]
            pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
                Some(Self {
                    $($field: $crate::wire::Field::read(
                        bytes.get(core::mem::offset_of!(Self, $field)..)?,
                    )?,)+
                })
            }

            /// The bytes the kernel sees.
            #[must_use]
            pub fn to_bytes(&self) -> [u8; Self::SIZE] {
                let mut bytes = [0; Self::SIZE];
                $($crate::wire::Field::write(
                    self.$field,
                    &mut bytes[core::mem::offset_of!(Self, $field)..],
                );)+
                bytes
            }
        }
    };
}
pub(crate) use wire_struct;
