//! The report in a real browser: light, dark, and printed.

use std::{fs, process::Command};

use anyhow::Context as _;
use hopsight_export::Exporter;
use hopsight_posture::hops::table::HopLimits;
use hopsight_tests::requirement;
use hopsight_tools::made_up;

use crate::webdriver::Browser;

const HOPSIGHT: &str = env!("CARGO_BIN_EXE_hopsight-agent");

#[test]
fn a_report_is_readable_light_dark_and_printed() -> anyhow::Result<()> {
    let test = "a_report_is_readable_light_dark_and_printed";
    if !requirement::met(test, &["chromium", "chromedriver"]) {
        return Ok(());
    }
    let dir = tempfile::tempdir().context("make a directory")?;
    let exporter = Exporter::new(HopLimits::default());
    for number in 0..600 {
        exporter.record(&made_up::connection(number % 120, number));
    }
    let answer = dir.path().join("node-1.json");
    fs::write(&answer, serde_json::to_vec(&exporter.hops())?)?;
    let page = dir.path().join("report.html");
    let written = Command::new(HOPSIGHT).arg("report").arg(&answer).output()?;
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    fs::write(&page, written.stdout)?;

    let browser = Browser::start(dir.path(), 1400, 1200)?;
    browser.open(&format!("file://{}", page.display()))?;
    let rows = "return document.querySelectorAll('#hops + p + .scroll tbody tr').length";
    assert_eq!(browser.run(rows)?, 120, "a row for each hop");
    let overflow = "return document.documentElement.scrollWidth <= innerWidth";
    assert_eq!(browser.run(overflow)?, true, "no sideways scrolling");
    let foreign = "return performance.getEntriesByType('resource').length";
    assert_eq!(browser.run(foreign)?, 0, "nothing is loaded");
    let links = "return [...document.querySelectorAll('nav a')].every((a) => document.querySelector(a.hash))";
    assert_eq!(browser.run(links)?, true, "every link of it leads somewhere");
    for scheme in ["light", "dark"] {
        browser.prefer("prefers-color-scheme", scheme)?;
        let worst = browser.run(include_str!("contrast.js"))?;
        let ratio = worst["ratio"].as_f64().context("no ratio")?;
        // WCAG 2.2, 1.4.3, level AA.
        assert!(ratio >= 4.5, "{scheme}: {worst}");
        if let Some(shots) = std::env::var_os("HOPSIGHT_SCREENSHOTS") {
            browser.screenshot(
                &std::path::PathBuf::from(shots).join(format!("report-{scheme}.png")),
            )?;
        }
    }
    // What a dark screen shows is printed on white paper.
    let pdf = browser.print()?;
    assert!(pdf.starts_with(b"%PDF-"), "no PDF");
    if let Some(shots) = std::env::var_os("HOPSIGHT_SCREENSHOTS") {
        fs::write(std::path::PathBuf::from(shots).join("report.pdf"), &pdf)?;
    }
    let pages = pages_of(&pdf);
    assert!((2..200).contains(&pages), "{pages} pages");
    assert_eq!(browser.complaints()?, [""; 0]);
    Ok(())
}

/// Pages of a PDF, by their objects.
fn pages_of(pdf: &[u8]) -> usize {
    let text = String::from_utf8_lossy(pdf);
    text.matches("/Type /Page\n").count() + text.matches("/Type /Page/").count()
}
