//! What is reported of passes between real servers: the report's figures, metrics, the status of a daemon, and the
//! report's page in a real browser.

mod page;
mod passes;
mod rebalance;
mod running;
mod terminal;
