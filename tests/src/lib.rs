//! End-to-end test harness of hopsight: real proxies, real upstreams, a real agent.
//!
//! [`case`] lists the hops as one table, [`topology`] starts the programs behind them, [`truth`]
//! reads what the upstreams themselves logged, [`agent`] runs the agent under test and [`table`]
//! compares. Everything that is started is owned by a guard and stops with it.

pub mod admin_stand_in;
pub mod agent;
mod alone;
pub mod api_stand_in;
pub mod caddy;
pub mod case;
pub mod cgroup;
pub mod client;
pub mod cluster;
pub mod containerd;
pub mod cri;
pub mod crowd;
pub mod drift;
pub mod dropping;
pub mod early_data;
pub mod envoy;
pub mod golden;
pub mod haproxy;
pub mod http;
pub mod interrupt;
pub mod load;
pub mod loopback;
pub mod monitoring;
pub mod netns;
pub mod nginx;
pub mod ordinary;
pub mod pki;
pub mod place;
pub mod process;
pub mod receiver;
pub mod requirement;
pub mod reservation;
pub mod schema;
pub mod stack;
pub mod table;
pub mod topology;
pub mod truth;
pub mod wait;

pub use alone::alone;
