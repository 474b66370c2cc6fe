//! Live tests: real proxies, real upstreams, the real agent. One binary, to link once.

mod topology;
