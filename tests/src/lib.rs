//! End-to-end test harness of hopsight.
