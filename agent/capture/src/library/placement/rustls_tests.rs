//! rustls inside programs made here.

use hopsight_test_support::crafted::{self, Piece, Program};

use super::{Hook, Linked, Rustls, linked_tests::points, survey, survey_with};

/// In the path of a source file, as panics name it.
pub const RUSTLS: &str = "/registry/src/rustls-0.23.46/src/client/hs.rs";

fn with_rustls(program: &Program) -> Linked {
    survey_with(&program.c(&[RUSTLS]).bytes.as_slice(), Rustls::LookedFor).unwrap().linked
}

#[test]
fn rustls_is_placed_by_the_table_of_its_hash() {
    let program = crafted::rustls();
    let file = program.c(&[RUSTLS]);
    let Linked::Placed { name, placement } = with_rustls(&program) else { panic!("not found") };
    assert_eq!(name, "rustls 0.23.46");
    assert_eq!(points(&placement, Hook::RustlsUpdate), [file.starts["update"]]);
    assert_eq!(survey(&file.bytes.as_slice()).unwrap().linked, Linked::Absent, "not asked for");
}

#[test]
fn what_is_not_surely_the_hash_of_rustls_is_left_alone() {
    let changed = |change: &dyn Fn(&mut Program)| {
        let mut program = crafted::rustls();
        change(&mut program);
        program
    };
    let with = |name: &'static str, code: Vec<Piece>| {
        changed(&move |program| {
            let found = program.functions.iter_mut().find(|function| function.name == name);
            found.unwrap().code.clone_from(&code);
        })
    };
    for (name, program) in [
        ("another size", changed(&|program| program.tables[0].size = 0xd0)),
        ("too small a size", changed(&|program| program.tables[0].size = 8)),
        ("a fifth method", changed(&|program| program.tables[0].methods.push("main"))),
        ("a method is missing", changed(&|program| program.tables[0].methods.truncate(3))),
        ("the same method twice", changed(&|program| program.tables[0].methods[3] = "finish")),
        ("another order", changed(&|program| program.tables[0].methods.swap(1, 3))),
        ("nobody starts one", changed(&|program| program.functions[6].code.clear())),
        (
            "a third function names it",
            with("other", vec![Piece::LeaTable("Context"), Piece::Bytes(b"\xc3")]),
        ),
        (
            "another method makes one, too",
            with("finish", vec![Piece::Bytes(b"\xbf\xe0\0\0\0\xc3")]),
        ),
    ] {
        assert!(matches!(with_rustls(&program), Linked::Unsupported(_)), "{name}");
    }
}
