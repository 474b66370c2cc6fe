use super::*;

#[test]
fn dropping_the_source_unloads_every_program() {
    if !rustix::process::geteuid().is_root() {
        hopsight_test_support::not_run("dropping_the_source_unloads_every_program", "needs root");
        return;
    }
    let options = LiveOptions { adopt: false, ..LiveOptions::default() };
    let source = LiveSource::start(options).unwrap_or_else(|error| panic!("{error:#}"));
    let ours: Vec<u32> = source.stats().read().programs.iter().map(|p| p.id).collect();
    let loaded = || {
        let ids = aya::programs::loaded_programs().filter_map(|info| Some(info.ok()?.id()));
        ids.filter(|id| ours.contains(id)).count()
    };
    assert!(!ours.is_empty());
    assert_eq!(loaded(), ours.len());
    drop(source);
    // A link holds its program, so no program means no link. The kernel frees them when no
    // processor can still be in one.
    let deadline = Instant::now() + Duration::from_mins(1);
    while loaded() > 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(loaded(), 0);
}
