//! `mutt rules`: apply, export, test and lint AlertRule files; and the tables behind them, which the API shares.

pub(crate) mod change;
pub(crate) mod row;
pub(crate) mod table;
