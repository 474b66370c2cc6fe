//! Instruction sets that rows boot on.

use std::process::Command;

use crate::{
    apt,
    command::{installed, run},
};

/// The instruction set of a virtual machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arch {
    /// Also that of this machine.
    X86_64,
    /// What runs there is cross-compiled, and the programs beside it are Debian's.
    Aarch64,
}

impl Arch {
    /// That of this machine.
    ///
    /// # Errors
    /// Where it is another.
    pub fn of_this_machine() -> anyhow::Result<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(Self::X86_64),
            "aarch64" => Ok(Self::Aarch64),
            other => anyhow::bail!("nothing is known of {other}"),
        }
    }

    /// Debian's name.
    pub const fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// Rust's name of the target, where it is not this machine's.
    pub const fn cross_target(self) -> Option<&'static str> {
        match self {
            Self::X86_64 => None,
            Self::Aarch64 => Some("aarch64-unknown-linux-gnu"),
        }
    }

    /// The program of qemu.
    pub const fn qemu(self) -> &'static str {
        match self {
            Self::X86_64 => "qemu-system-x86_64",
            Self::Aarch64 => "qemu-system-aarch64",
        }
    }

    /// A machine as capable as qemu makes them, less what makes emulation slow: the fifth level of
    /// page tables, and pointer authentication with a cipher of its own.
    pub const fn machine(self) -> &'static [&'static str] {
        match self {
            Self::X86_64 => &["-cpu", "max,la57=off"],
            Self::Aarch64 => &["-machine", "virt", "-cpu", "max,pauth-impdef=on"],
        }
    }

    /// The first serial port, as Linux calls it.
    pub const fn console(self) -> &'static str {
        match self {
            Self::X86_64 => "ttyS0",
            Self::Aarch64 => "ttyAMA0",
        }
    }

    /// binutils' strip for this target.
    pub const fn strip(self) -> &'static str {
        match self {
            Self::X86_64 => "strip",
            Self::Aarch64 => "aarch64-linux-gnu-strip",
        }
    }

    /// Installs what `cargo xtask setup` does not: emulator, cross compiler and Rust's library of a
    /// foreign instruction set.
    ///
    /// # Errors
    /// When they cannot be installed.
    pub fn set_up(self) -> anyhow::Result<()> {
        let Some(target) = self.cross_target() else { return Ok(()) };
        if !installed(self.qemu()) || !installed("aarch64-linux-gnu-gcc") {
            apt::install(&["qemu-system-arm", "gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"])?;
        }
        run(Command::new("rustup").args(["target", "add", target]))
    }
}
