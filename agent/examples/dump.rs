//! dump
fn main() -> anyhow::Result<()> {
    let p = std::env::args().nth(1).unwrap();
    let c = hopsight::replay::replay(p.as_ref(), hopsight::replay::limits(), &mut |r| {
        println!("{}", serde_json::to_string(&r)?);
        Ok(())
    })?;
    eprintln!("{c:?}");
    Ok(())
}
