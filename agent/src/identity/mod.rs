//! Who the two ends of a hop are: process, cgroup, container, and the files they were configured with.
