//! Which variables code may set that runs before a request is passed on.

/// Code that runs before that, by how the names of its directives begin.
const BEFORE: [&str; 7] = [
    "set_by_lua",
    "rewrite_by_lua",
    "server_rewrite_by_lua",
    "access_by_lua",
    "precontent_by_lua",
    "content_by_lua",
    "preread_by_lua",
];
/// The same in other languages, from files.
const OTHERS: [&str; 4] = ["js_access", "js_content", "js_preread", "perl"];
/// How code brings in other code, which is not read, reaches `ngx` under another name, or asks for a
/// subrequest, which may be given variables.
const BRINGS_IN: [&str; 7] = ["require", "dofile", "load", "_G", "_ENV", "getfenv", "ngx.location"];
/// What begins the name of a variable.
const VARIABLE: &str = "ngx.var";

/// The variables that a directive may give values to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sets<'a> {
    /// Any.
    Any,
    /// These at most.
    These(Vec<&'a str>),
}

/// Whether code may leave functions behind that others call by their names, and that set variables.
pub(super) fn defines(directive: &str, args: &[String]) -> bool {
    let is_before_all = ["init_by_lua", "init_worker_by_lua"];
    let reaches =
        |code: &String| code.contains("ngx") || BRINGS_IN.iter().any(|word| code.contains(word));
    is_before_all.iter().any(|begin| directive.starts_with(begin))
        && (directive.ends_with("_file") || args.iter().any(reaches))
}

/// Whether a directive has Lua code that runs before a request is passed on.
pub(super) fn is_before(directive: &str) -> bool {
    BEFORE.iter().any(|begin| directive.starts_with(begin))
}

/// What the code of a directive may set; what it is given and sets by name is an argument of its own.
pub(super) fn set_by<'a>(directive: &str, args: &'a [String]) -> Sets<'a> {
    if OTHERS.contains(&directive) {
        return Sets::Any;
    }
    if !is_before(directive) {
        return Sets::These(Vec::new());
    }
    if directive.ends_with("_file") {
        return Sets::Any;
    }
    let mut names = Vec::new();
    for code in args {
        if BRINGS_IN.iter().any(|word| code.contains(word)) {
            return Sets::Any;
        }
        for (at, _) in code.match_indices(VARIABLE) {
            let Some(after) = code[at + VARIABLE.len()..].strip_prefix('.') else {
                // By a name that is made, or under another one.
                return Sets::Any;
            };
            let is_name = |one: char| one.is_ascii_alphanumeric() || one == '_';
            let end = after.find(|one| !is_name(one)).unwrap_or(after.len());
            let rest = after[end..].trim_start();
            if end == 0 || rest.starts_with("--") {
                // What it is called stands further on, or what becomes of it behind a comment.
                return Sets::Any;
            }
            // One of several on the left side is followed by a comma.
            if rest.starts_with(',') || (rest.starts_with('=') && !rest.starts_with("==")) {
                names.push(&after[..end]);
            }
        }
        // The table around them, under another name.
        let alone = |(at, word): (usize, &str)| {
            let after = &code[at + word.len()..];
            let member = after.strip_prefix('.').unwrap_or_default();
            !after.starts_with('_') && !member.starts_with(|one: char| one.is_ascii_alphabetic())
        };
        if code.match_indices("ngx").any(alone) {
            return Sets::Any;
        }
    }
    Sets::These(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_code_leaves_behind() {
        for (directive, code, expected) in [
            ("init_by_lua_block", "function go() ngx.var.backend = 1 end", true),
            ("init_worker_by_lua_block", "router = require 'router'", true),
            ("init_by_lua_file", "/a.lua", true),
            ("init_by_lua", "limit = 3", false),
            ("access_by_lua_block", "function go() ngx.var.backend = 1 end", false),
        ] {
            assert_eq!(defines(directive, &[code.to_owned()]), expected, "{directive} {code}");
        }
    }

    #[test]
    fn what_code_may_set() {
        for (directive, code, expected) in [
            ("access_by_lua_block", "ngx.var.backend = 'http://a'", Sets::These(vec!["backend"])),
            ("set_by_lua", "ngx.var.a, ngx.var.b = 1, 2", Sets::These(vec!["a", "b"])),
            (
                "rewrite_by_lua_block",
                "if ngx.var.a == 'x' then ngx.exit(403) end",
                Sets::These(vec![]),
            ),
            ("access_by_lua_block", "ngx.var['back' .. 'end'] = 1", Sets::Any),
            ("access_by_lua_block", "local v = ngx.var; v.backend = 1", Sets::Any),
            ("access_by_lua_block", "local n = ngx; n.var.backend = 1", Sets::Any),
            ("access_by_lua_block", "require('router').go()", Sets::Any),
            ("access_by_lua_block", "ngx. var.backend = 1", Sets::Any),
            ("access_by_lua_block", "ngx.var. backend = 1", Sets::Any),
            ("access_by_lua_block", "ngx.var.backend --[[c]] = 1", Sets::Any),
            ("access_by_lua_block", "load [[x]]", Sets::Any),
            ("access_by_lua_block", "_G['n' .. 'gx'].var.backend = 1", Sets::Any),
            ("content_by_lua_block", "ngx.location.capture('/', o)", Sets::Any),
            ("content_by_lua_file", "/a.lua", Sets::Any),
            ("js_content", "main.go", Sets::Any),
            ("log_by_lua_block", "ngx.var.backend = 1", Sets::These(vec![])),
            ("proxy_pass", "http://ngx.var.backend", Sets::These(vec![])),
        ] {
            assert_eq!(set_by(directive, &[code.to_owned()]), expected, "{directive} {code}");
        }
    }
}
