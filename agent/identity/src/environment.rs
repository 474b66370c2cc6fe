//! The environment that a process was started with.

use hopsight_posture::policy::environment::Environment;
use hopsight_system::foreign;

/// What is read of an environment at most; of a longer one nothing counts, for it may be cut.
const MAX_ENVIRONMENT: usize = 64 << 10;

/// That of this process; nothing is known of one that cannot be read.
pub(crate) fn of_process(pid: u32) -> Environment {
    let Ok(bytes) = foreign::fact(pid, "environ") else { return Environment::unknown() };
    if bytes.len() >= MAX_ENVIRONMENT {
        return Environment::unknown();
    }
    let text = String::from_utf8_lossy(&bytes);
    let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
    Environment::of_process(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_is_read_of_a_process() {
        let ours = of_process(std::process::id());
        assert_ne!(ours, Environment::unknown());
        assert_eq!(of_process(1 << 23), Environment::unknown());
    }
}
