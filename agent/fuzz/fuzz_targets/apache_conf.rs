#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hopsight_fuzz_targets::apache_conf(data));
