//! The `hopsight` binary.

fn main() -> anyhow::Result<()> {
    Ok(())
}
