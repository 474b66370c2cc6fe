//! What a source file imports, read from its `use` declarations.

/// The paths that `use` declarations outside of tests name, each as its segments.
pub fn imports(text: &str) -> Vec<Vec<String>> {
    let code = without_tests(text);
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = next_use(rest) {
        let declaration = &rest[at..];
        let end = declaration.find(';').unwrap_or(declaration.len());
        let tokens = tokens(&declaration[..end]);
        tree(&mut tokens.iter().map(String::as_str).peekable(), &mut Vec::new(), &mut found);
        rest = &declaration[end..];
    }
    found
}

/// Everything before the tests at the end of a file.
pub fn without_tests(text: &str) -> &str {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    &text[..end]
}

/// Where the path of the next `use` declaration begins.
fn next_use(text: &str) -> Option<usize> {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let declaration = line.trim_start();
        let after_visibility = match declaration.strip_prefix("pub") {
            Some(rest) if rest.starts_with('(') => {
                rest.split_once(") ").map_or("", |(_, rest)| rest)
            }
            Some(rest) => rest.trim_start(),
            None => declaration,
        };
        if let Some(path) = after_visibility.strip_prefix("use ") {
            return Some(at + line.len() - path.len());
        }
        at += line.len();
    }
    None
}

fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut word = String::new();
    for c in text.chars() {
        if c.is_alphanumeric() || c == '_' {
            word.push(c);
            continue;
        }
        if !word.is_empty() {
            tokens.push(std::mem::take(&mut word));
        }
        if matches!(c, '{' | '}' | ',' | '*') {
            tokens.push(c.to_string());
        }
    }
    tokens.extend((!word.is_empty()).then_some(word));
    tokens
}

/// Reads one use tree (Rust Reference, "Use declarations") behind `path`, to its comma or brace.
fn tree<'a>(
    tokens: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>,
    path: &mut Vec<String>,
    found: &mut Vec<Vec<String>>,
) {
    let depth = path.len();
    let mut has_branches = false;
    while let Some(&token) = tokens.peek() {
        match token {
            "," | "}" => break,
            "{" => {
                has_branches = true;
                tokens.next();
                while tokens.peek().is_some_and(|&token| token != "}") {
                    tree(tokens, path, found);
                    tokens.next_if_eq(&",");
                }
                tokens.next();
            }
            "as" => {
                tokens.next();
                tokens.next();
            }
            segment => {
                path.push(segment.to_owned());
                tokens.next();
            }
        }
    }
    if !has_branches && path.len() > depth {
        found.push(path.clone());
    }
    path.truncate(depth);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_declaration_is_read() {
        let text = "use a::b;\npub use c::{d, e::{self, f as g}};\npub(in crate::x) use h::*;\n\
                    fn code() { let used = 1; }\n    use super::{\n        i,\n        j::k,\n    };\n\
                    #[cfg(test)]\nmod tests {\n    use hidden::x;\n}\n";
        let read: Vec<String> = imports(text).iter().map(|path| path.join("::")).collect();
        let expected = ["a::b", "c::d", "c::e::self", "c::e::f", "h::*", "super::i", "super::j::k"];
        assert_eq!(read, expected);
    }
}
