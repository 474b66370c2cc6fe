//! Inventories against schemas: that of INVENTORY.md, and CycloneDX's own.

use std::{
    env,
    io::Write as _,
    process::{Command, Stdio},
};

use hopsight_core::tls::cryptography::PostQuantum;
use hopsight_export::{
    Exporter,
    inventory::{Inventory, Role, Source},
};
use hopsight_posture::hops::table::{HopLimits, Snapshot};
use hopsight_tests::schema::Document;
use hopsight_tools::made_up;
use serde_json::{Value, json};

use crate::{
    document,
    json::{PYTHON, assert_described, assert_valid, schema},
};

/// Prints the number of each document on standard input in which something is wrong, and what. The
/// schemas of CycloneDX come with its Python library, which is not run.
const VALIDATE: &str = "
import importlib.util, json, pathlib, sys
from jsonschema import Draft7Validator, FormatChecker
from referencing import Registry, Resource
package = pathlib.Path(importlib.util.find_spec('cyclonedx').origin).parent
known = {}
for path in (package / 'schema' / '_res').glob('*.schema.json'):
    known['http://cyclonedx.org/schema/' + path.name] = json.loads(path.read_text('utf-8'))
schema = known['http://cyclonedx.org/schema/bom-1.7.SNAPSHOT.schema.json']
Draft7Validator.check_schema(schema)
resources = [(name, Resource.from_contents(content)) for name, content in known.items()]
formats = FormatChecker()
assert 'date-time' in formats.checkers, 'dates cannot be checked'
validator = Draft7Validator(schema, registry=Registry().with_resources(resources), format_checker=formats)
for number, instance in enumerate(json.load(sys.stdin)):
    for error in validator.iter_errors(instance):
        print(number, error.json_path, error.message[:500])
";

fn inventory(hops: u64) -> Inventory {
    let exporter = Exporter::new(HopLimits::default());
    for number in 0..3 * hops {
        exporter.record(&made_up::connection(number % hops, number));
    }
    Inventory::of(vec![Source { name: "node-1:9464".to_owned(), hops: exporter.hops() }])
}

/// The inventory of the example in HOPS.md.
fn example() -> Inventory {
    let text = document("HOPS.md");
    let [block] = &crate::blocks(&text, "json")[..] else { panic!("one example") };
    let hops: Snapshot = serde_json::from_str(block).unwrap();
    Inventory::of(vec![Source { name: "HOPS.md".to_owned(), hops }])
}

#[test]
fn an_inventory_is_as_its_document_says() {
    let mut instances = Vec::new();
    for inventory in [inventory(40), example()] {
        let json: Value = serde_json::from_str(&inventory.json().unwrap()).unwrap();
        assert_described(&json, &document("INVENTORY.md"), &schema("inventory.schema.json"));
        instances.push(json);
    }
    assert_valid(Document::Inventory, &instances);
    let text = document("INVENTORY.md");
    let schema = schema("inventory.schema.json");
    let words = |all: &[Role]| json!(all.iter().map(|word| word.as_str()).collect::<Vec<_>>());
    assert_eq!(schema["$defs"]["role"]["enum"], words(Role::ALL));
    for word in PostQuantum::ALL {
        assert!(text.contains(&format!("| `{word}` |")), "{word}");
    }
}

#[test]
fn a_bill_of_materials_is_valid_by_the_schema_of_cyclonedx() {
    let name = "a_bill_of_materials_is_valid_by_the_schema_of_cyclonedx";
    let Some(python) = env::var_os(PYTHON) else {
        let why = format!("{PYTHON} is not set (`cargo xtask test` sets it)");
        return hopsight_test_support::not_run(name, &why);
    };
    let mut bills: Vec<Value> = [inventory(200), example(), Inventory::of(Vec::new())]
        .iter()
        .map(|inventory| serde_json::from_str(&inventory.cyclonedx(1.8e9).unwrap()).unwrap())
        .collect();
    let protocols = bills[0]["components"].as_array().unwrap().iter();
    let is_hybrid = |one: &&Value| {
        let suites = &one["cryptoProperties"]["protocolProperties"]["cipherSuites"];
        suites[0]["tlsGroups"] == json!(["X25519MLKEM768"])
    };
    assert!(protocols.filter(is_hybrid).count() > 0, "none of what is to be shown");
    let dependencies = bills[0]["dependencies"].as_array().unwrap().iter();
    let is_chain = |one: &&Value| one["ref"].as_str().unwrap().starts_with("certificate:");
    assert!(dependencies.filter(is_chain).count() > 0, "no certificate has one behind it");
    // The validator sees what is wrong.
    let wrong = bills.len();
    for (pointer, value) in [
        ("/components/0/cryptoProperties/assetType", json!("nonsense")),
        ("/metadata/timestamp", json!("yesterday")),
        ("/serialNumber", json!("urn:uuid:1")),
    ] {
        let mut bill = bills[0].clone();
        *bill.pointer_mut(pointer).unwrap() = value;
        bills.push(bill);
    }
    let mut validator = Command::new(python)
        .args(["-c", VALIDATE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = validator.stdin.take().unwrap();
    input.write_all(serde_json::to_string(&bills).unwrap().as_bytes()).unwrap();
    drop(input);
    let output = validator.wait_with_output().unwrap();
    assert!(output.status.success());
    let errors = String::from_utf8_lossy(&output.stdout);
    let mut told: Vec<usize> =
        errors.lines().filter_map(|line| line.split(' ').next()?.parse().ok()).collect();
    told.dedup();
    assert_eq!(told, (wrong..bills.len()).collect::<Vec<_>>(), "{errors}");
}
