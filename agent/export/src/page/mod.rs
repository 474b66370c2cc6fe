//! The page at `/`: one HTML document without external requests, put together at compile time.

/// The document.
pub const PAGE: &str = concat!(
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
     <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
     <title>hopsight</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>\n",
    include_str!("style.css"),
    "</style>\n</head>\n<body>\n",
    include_str!("body.html"),
    "<script>\n\"use strict\";\n",
    include_str!("model.js"),
    include_str!("map.js"),
    include_str!("table.js"),
    include_str!("detail.js"),
    include_str!("inventory.js"),
    include_str!("live.js"),
    "</script>\n</body>\n</html>\n",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_loaded_from_elsewhere() {
        let without_namespace = PAGE.replace("http://www.w3.org/2000/svg", "");
        for forbidden in ["http://", "https://", "src=", "@import", "url(", "innerHTML", "eval("] {
            assert!(!without_namespace.contains(forbidden), "{forbidden}");
        }
    }
}
