//! The agent's page in a real browser, with few, many and very many hops.
//!
//! `HOPSIGHT_SCREENSHOTS=DIR` keeps a picture of each.

mod report;
mod webdriver;

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use hopsight_tests::{agent::MadeUp, requirement, wait::wait_until};
use serde_json::Value;
use webdriver::Browser;

const WAIT: Duration = Duration::from_mins(1);
/// Rows and map lines the page draws at once; see `table.js` and `map.js`.
const TABLE_PAGE: u64 = 200;
const MAP_HOPS: u64 = 30;
/// Certificates that the page lists; see `inventory.js`.
const CERTIFICATES_SHOWN: u64 = 50;
/// WebDriver's names of keys.
const ENTER: char = '\u{e007}';
const ESCAPE: char = '\u{e00c}';

struct Page {
    browser: Browser,
    url: String,
    screenshots: Option<PathBuf>,
    _demo: MadeUp,
    _dir: tempfile::TempDir,
}

impl Page {
    /// The page over `hops` made-up hops, fully drawn; `None` where no browser is installed.
    fn open(test: &str, hops: u64) -> anyhow::Result<Option<Self>> {
        if !requirement::met(test, &["chromium", "chromedriver"]) {
            return Ok(None);
        }
        let dir = tempfile::tempdir().context("make a directory")?;
        let demo = MadeUp::start(dir.path(), hops)?;
        let browser = Browser::start(dir.path(), 1400, 1200)?;
        let url = format!("http://{}/", demo.http);
        browser.open(&url)?;
        let screenshots = std::env::var_os("HOPSIGHT_SCREENSHOTS").map(PathBuf::from);
        let page = Self { browser, url, screenshots, _demo: demo, _dir: dir };
        page.wait_for(
            &format!("all {hops} hops"),
            &format!("store.hops.size === {hops} && document.querySelector('#rows tr') !== null"),
        )?;
        Ok(Some(page))
    }

    fn value(&self, expression: &str) -> anyhow::Result<Value> {
        self.browser.run(&format!("return {expression};"))
    }

    fn number(&self, expression: &str) -> anyhow::Result<u64> {
        self.value(expression)?.as_u64().with_context(|| format!("{expression} is no number"))
    }

    fn wait_for(&self, what: &str, condition: &str) -> anyhow::Result<()> {
        wait_until(what, WAIT, || Ok(self.value(condition)?.as_bool().filter(|&met| met)))?;
        Ok(())
    }

    fn screenshot(&self, name: &str) -> anyhow::Result<()> {
        let Some(dir) = &self.screenshots else { return Ok(()) };
        std::fs::create_dir_all(dir)?;
        self.browser.screenshot(&dir.join(format!("{name}.png")))
    }
}

#[test]
fn few_many_and_very_many_hops() -> anyhow::Result<()> {
    for hops in [3, 300, 3000] {
        let Some(page) = Page::open("few_many_and_very_many_hops", hops)? else { return Ok(()) };
        let rows = page.number("document.querySelectorAll('#rows tr').length")?;
        assert_eq!(rows, hops.min(TABLE_PAGE), "{hops} hops: table rows");
        let lines = page.number("document.querySelectorAll('#map .hop:not(.rest)').length")?;
        assert_eq!(lines, hops.min(MAP_HOPS), "{hops} hops: hops on the map");
        let note = page.value("!document.querySelector('#map-note').hidden")?;
        assert_eq!(note, hops > MAP_HOPS, "{hops} hops: a note says what the map leaves out");
        let chips = page.number(
            "[...document.querySelectorAll('.chip:not(.violations) b')].reduce((n, b) => n + Number(b.textContent), 0)",
        )?;
        assert_eq!(chips, hops, "{hops} hops: the summary counts each once");
        let proxies = "new Set(visibleHops().map((hop) => hop.proxy)).size";
        let drawn = "document.querySelectorAll('#map .proxy').length";
        assert_eq!(page.value(drawn)?, page.value(proxies)?, "{hops} hops: proxies on the map");
        let overflow = "document.documentElement.scrollWidth <= innerWidth";
        assert_eq!(page.value(overflow)?, true, "{hops} hops: no sideways scrolling");
        let first = "document.querySelector('#rows .badge').textContent";
        assert_eq!(page.value(first)?, "plaintext", "{hops} hops: worst first");
        let time = page.value(
            "(() => { const t = performance.now(); const h = visibleHops(); mapDrawn = ''; \
             renderMap(h); renderTable(h); return performance.now() - t; })()",
        )?;
        println!("{hops} hops: drawn in {time} ms");
        assert!(time.as_f64().is_some_and(|ms| ms < 10_000.0), "{hops} hops: {time} ms");
        let foreign = page.value(
            "performance.getEntriesByType('resource').map((e) => e.name)\
             .filter((name) => !name.startsWith(location.origin))",
        )?;
        assert_eq!(foreign, Value::Array(vec![]), "{hops} hops: nothing is loaded from elsewhere");
        page.screenshot(&format!("{hops}-light"))?;
        page.browser.prefer("prefers-color-scheme", "dark")?;
        page.screenshot(&format!("{hops}-dark"))?;
        assert_eq!(page.browser.complaints()?, [""; 0], "{hops} hops");
    }
    Ok(())
}

#[test]
fn filter_sort_and_detail_by_keyboard() -> anyhow::Result<()> {
    let Some(page) = Page::open("filter_sort_and_detail_by_keyboard", 300)? else { return Ok(()) };
    page.browser.run("byId('filter').focus();")?;
    for key in "plaintext".chars() {
        page.browser.press(key)?;
    }
    page.wait_for("the filter", "document.querySelectorAll('#rows tr').length < 100")?;
    let others = "[...document.querySelectorAll('#rows .badge')]\
                  .filter((badge) => badge.textContent !== 'plaintext').length";
    assert_eq!(page.number(others)?, 0);

    page.browser.run("document.querySelector('#headings [data-column=upstream]').focus();")?;
    page.browser.press(ENTER)?;
    let sorted = "document.activeElement.closest('th').getAttribute('aria-sort')";
    page.wait_for("ascending", &format!("{sorted} === 'ascending'"))?;
    page.browser.press(ENTER)?;
    page.wait_for("descending, focus kept", &format!("{sorted} === 'descending'"))?;

    page.browser.run("document.querySelector('#map .hop').focus();")?;
    page.browser.press(ENTER)?;
    page.wait_for("the detail, focused", "document.activeElement.id === 'detail-title'")?;
    let steps = page.value("document.querySelector('.timeline').textContent")?;
    assert!(steps.to_string().contains("read on the wire"), "how it is known: {steps}");
    page.screenshot("detail-plaintext")?;
    let policy = page.value("byId('detail-body').textContent")?.to_string();
    assert!(policy.contains("upstreams.conf:17"), "where it is configured: {policy}");
    page.browser.press(ESCAPE)?;
    page.wait_for(
        "the detail closed, focus back",
        "byId('detail').hidden && document.activeElement.classList.contains('hop')",
    )?;

    page.browser
        .run("byId('filter').value = ''; byId('filter').dispatchEvent(new Event('input'));")?;
    let key = "[...store.hops.values()].find((hop) => hop.security === 'mtls' && hop.evidence === 'library')";
    page.browser.run(&format!("openDetail(keyOf({key}));"))?;
    page.wait_for(
        "certificates",
        "byId('detail-body').textContent.includes('Certificate of the proxy')",
    )?;
    page.screenshot("detail-mtls")?;
    assert_eq!(page.browser.complaints()?, [""; 0]);
    Ok(())
}

#[test]
fn certificates_and_cryptography_of_the_hops_that_are_shown() -> anyhow::Result<()> {
    let test = "certificates_and_cryptography_of_the_hops_that_are_shown";
    let Some(page) = Page::open(test, 300)? else { return Ok(()) };
    let rows = "document.querySelectorAll('#certificates tr').length";
    page.wait_for("certificates", &format!("{rows} > 0"))?;
    let all = page.number("certificatesInUse([...store.hops.values()]).length")?;
    assert_eq!(page.number(rows)?, all.min(CERTIFICATES_SHOWN));
    let note = page.value("!byId('certificates-note').hidden")?;
    assert_eq!(note, all > CERTIFICATES_SHOWN, "a note says that {all} are too many");
    let ends =
        "[...document.querySelectorAll('#certificates tr')].map((row) => row.cells[3].textContent)";
    assert_eq!(page.value(&format!("{ends}.join() === {ends}.sort().join()"))?, true);

    // One certificate is in use on every mutual hop; each hop is one of the share it has.
    let mutual = "[...store.hops.values()].filter((hop) => hop.client_certificate).length";
    let widest =
        "Math.max(...certificatesInUse([...store.hops.values()]).map(({ hops }) => hops.size))";
    assert_eq!(page.number(widest)?, page.number(mutual)?);
    let using = "[...store.hops.values()].filter((hop) => hop.cryptography.length > 0).length";
    let versions = "[...document.querySelectorAll('#cryptography .shares')][0]";
    let told =
        format!("[...{versions}.querySelectorAll('meter')].reduce((n, one) => n + one.value, 0)");
    assert_eq!(page.number(&told)?, page.number(using)?, "each hop speaks one version");
    page.browser.run("byId('certificates-title').scrollIntoView();")?;
    page.screenshot("inventory")?;

    page.browser.run("document.querySelector('#certificates button').click();")?;
    page.wait_for("the hop", "!byId('detail').hidden")?;
    page.browser.run("closeDetail(); byId('filter').value = 'plaintext'; byId('filter').dispatchEvent(new Event('input'));")?;
    page.wait_for("nothing of hops that are not shown", &format!("{rows} === 0"))?;
    assert_eq!(page.browser.complaints()?, [""; 0]);
    Ok(())
}

#[test]
fn a_count_on_the_map_leads_to_its_hops() -> anyhow::Result<()> {
    let Some(page) = Page::open("a_count_on_the_map_leads_to_its_hops", 300)? else {
        return Ok(());
    };
    page.browser.run("document.querySelector('#map .rest').focus();")?;
    page.browser.press(ENTER)?;
    let shown =
        "new Set([...document.querySelectorAll('#rows tr')].map((r) => r.cells[0].textContent))";
    page.wait_for("one proxy's hops", &format!("{shown}.size === 1"))?;
    let listed = page.number("document.querySelectorAll('#rows tr').length")?;
    assert!(listed > 30, "{listed} hops of that proxy");
    assert_eq!(page.browser.complaints()?, [""; 0]);
    Ok(())
}

#[test]
fn only_violations() -> anyhow::Result<()> {
    let Some(page) = Page::open("only_violations", 300)? else { return Ok(()) };
    page.browser.run("byId('chip-violations').click();")?;
    let shown = "[...document.querySelectorAll('#rows .badge')].map((badge) => badge.textContent)";
    page.wait_for("violations", &format!("{shown}.every((word) => word === 'plaintext')"))?;
    let count = page.number("Number(document.querySelector('#chip-violations b').textContent)")?;
    assert_eq!(page.number(&format!("{shown}.length"))?, count);
    page.screenshot("violations")?;
    Ok(())
}

#[test]
fn certificates_that_end_are_counted_and_shown() -> anyhow::Result<()> {
    let test = "certificates_that_end_are_counted_and_shown";
    let Some(page) = Page::open(test, 300)? else { return Ok(()) };
    let chip = "Number(document.querySelector('#chip-ending b').textContent)";
    let count = page.number(chip)?;
    assert!(count > 0 && count < 100, "{count} of 300");
    page.browser.run("byId('chip-ending').click();")?;
    let cells = "[...document.querySelectorAll('#rows tr')].map((row) => \
                 row.cells[COLUMNS.findIndex(({ id }) => id === 'expires')])";
    page.wait_for("these alone", &format!("{cells}.length === {count}"))?;
    let is_soon = |cell: &str| format!("/^in (\\d|1[0-3]) d$/.test({cell}.textContent)");
    let all = format!(
        "{cells}.every((cell) => {} && {}.classList.contains('bad'))",
        is_soon("cell"),
        "cell"
    );
    assert_eq!(page.value(&all)?, true, "{}", page.value(&format!("{cells}[0].textContent"))?);
    page.screenshot("ending")?;
    assert_eq!(page.browser.complaints()?, [""; 0]);
    Ok(())
}

#[test]
fn it_says_who_watches_and_since_when() -> anyhow::Result<()> {
    let Some(page) = Page::open("it_says_who_watches_and_since_when", 3)? else { return Ok(()) };
    let version = env!("CARGO_PKG_VERSION");
    let wanted = format!("node node-1 · watched since 2026-11-18 11:06 UTC · hopsight {version}");
    assert_eq!(page.value("byId('agent').textContent")?, wanted.as_str());
    // One of a kind is no plural.
    let words = "[byId('chip-violations'), byId('count')].map((one) => one.textContent)";
    assert_eq!(page.value(words)?, serde_json::json!(["1violation", "3 hops"]));
    Ok(())
}

#[test]
fn every_control_has_a_name_and_enough_contrast() -> anyhow::Result<()> {
    let test = "every_control_has_a_name_and_enough_contrast";
    let Some(page) = Page::open(test, 40)? else { return Ok(()) };
    let nameless = page.value(
        "[...document.querySelectorAll('button, input, a, [role=button], [role=img]')]\
         .filter((e) => !(e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.length))\
         .map((e) => e.outerHTML)",
    )?;
    assert_eq!(nameless, Value::Array(vec![]));
    for scheme in ["light", "dark"] {
        page.browser.prefer("prefers-color-scheme", scheme)?;
        let worst = page.browser.run(include_str!("contrast.js"))?;
        let ratio = worst["ratio"].as_f64().context("no ratio")?;
        // WCAG 2.2, 1.4.3, level AA.
        assert!(ratio >= 4.5, "{scheme}: {worst}");
    }
    Ok(())
}

#[test]
fn connections_show_without_reloading() -> anyhow::Result<()> {
    let test = "connections_show_without_reloading";
    let Some(page) = Page::open(test, 3)? else { return Ok(()) };
    let total = "[...store.hops.values()].reduce((n, hop) => n + connections(hop), 0)";
    let before = page.number(total)?;
    page.wait_for("new connections", &format!("{total} > {before} + 4"))?;
    assert_eq!(page.value("byId('live').textContent")?, "live");
    Ok(())
}

#[test]
fn a_narrow_window_is_usable() -> anyhow::Result<()> {
    let Some(page) = Page::open("a_narrow_window_is_usable", 3)? else { return Ok(()) };
    let size = serde_json::json!({ "width": 420, "height": 900 });
    page.browser.resize(&size)?;
    page.browser.open(&page.url)?;
    page.wait_for("hops", "document.querySelectorAll('#rows tr').length === 3")?;
    let overflow = "document.documentElement.scrollWidth <= innerWidth";
    assert_eq!(page.value(overflow)?, true, "only the map and the table scroll sideways");
    page.screenshot("narrow")?;
    Ok(())
}
