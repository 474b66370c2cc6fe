use super::*;

/// What Envoy 1.39 shows of the same in `/config_dump`.
#[test]
fn scalars_are_what_envoy_makes_of_them() {
    for (written, expected) in [
        ("1.0", r#""1.0""#),
        ("1.10", r#""1.10""#),
        ("1e3", r#""1e3""#),
        (".inf", r#"".inf""#),
        ("010", "8"),
        ("007", "7"),
        ("00", "0"),
        ("08", r#""08""#),
        ("0x10", "16"),
        ("-0x10", "-16"),
        ("0b11", r#""0b11""#),
        ("0o17", r#""0o17""#),
        ("+5", "5"),
        ("-0", "0"),
        ("- 5", "[5]"),
        ("1_000", r#""1_000""#),
        ("12abc", r#""12abc""#),
        ("2026-01-01", r#""2026-01-01""#),
        ("3000000000", r#""3000000000""#),
        ("-3000000000", r#""-3000000000""#),
        ("99999999999999999999", r#""99999999999999999999""#),
        ("y", "true"),
        ("Yes", "true"),
        ("NO", "false"),
        ("Off", "false"),
        ("yEs", r#""yEs""#),
        ("", "null"),
        ("~", "null"),
        ("NULL", "null"),
        ("nUll", r#""nUll""#),
        ("'1.0'", r#""1.0""#),
        ("\"5\"", r#""5""#),
        ("|\n  5", r#""5\n""#),
        ("! 5", r#""5""#),
        ("!!str 5", "5"),
        ("!!str \"5\"", "5"),
        ("!custom 5", "5"),
        ("!!null x", r#""x""#),
    ] {
        let text = if written.starts_with("- ") {
            format!("k:\n  {written}")
        } else {
            format!("k: {written}")
        };
        let value = Reader::default().read(&text).unwrap();
        assert_eq!(value["k"].to_string(), expected, "{written}");
    }
}

#[test]
fn members_are_what_envoy_makes_of_them() {
    for (written, expected) in [
        ("{d: 1, d: 2}", r#"{"d":2}"#),
        ("{1.0: a, ~: b, yes: c}", r#"{"1.0":"a","null":"b","yes":"c"}"#),
        ("{!ignore z: {x: 1}, w: 4}", r#"{"w":4}"#),
        ("a: &A [1, {b: &B 2}]\nc: *A\nd: *B", r#"{"a":[1,{"b":2}],"c":[1,{"b":2}],"d":2}"#),
        ("a: &A x\n*A : z", r#"{"a":"x","x":"z"}"#),
        ("a: 1\n---\nb: [", r#"{"a":1}"#),
    ] {
        let value = Reader::default().read(written).unwrap();
        assert_eq!(value.to_string(), expected, "{written}");
    }
}

#[test]
fn what_is_wrong_has_its_line() {
    let bomb = (1..40).fold("a0: &a0 [x, x]\n".to_owned(), |text, i| {
        let before = i - 1;
        text + &format!("a{i}: &a{i} [*a{before}, *a{before}, *a{before}]\n")
    });
    let deep = "[".repeat(MAX_DEPTH + 1) + &"]".repeat(MAX_DEPTH + 1);
    let clusters = "static_resources:\n  clusters:\n  - name: a\n  - name:\n      - b\n";
    for (text, expected) in [
        ("a: [\n", "line 1: unclosed"),
        ("a: 1\n? [b]\n: c\n", "line 2: the name of a member"),
        ("a: &A\n  - *A\n", "line 2: it is nested too deep"),
        (&bomb, "line 1"),
        (&deep, "line 1: it is nested too deep"),
        ("- a\n", "it is no object"),
        ("", "it is no object"),
        (clusters, "line 5: static_resources.clusters[1].name: invalid type: sequence"),
        ("admin: 5\n", "line 1: admin: invalid type"),
    ] {
        let error = read_yaml(text).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn what_is_written_is_counted_once_however_deep_it_lies() {
    let text = format!("a: {}{}{}", "[".repeat(25), "1, ".repeat(50_000), "]".repeat(25));
    let value = Reader::default().read(&text).unwrap();
    assert!(value["a"].is_array());
}
