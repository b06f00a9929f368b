//! The way to the registry, for the commands that ask it.

use tracing::warn;

use crate::registry::Access;
use crate::system::environment::Environment;
use crate::verify::CannotAsk;
use crate::{cli, config};

/// Where it is, after a warning for each part of the URL that doesn't count.
///
/// # Errors
/// That there is none.
pub fn access(environment: &Environment, keys: &cli::Keys) -> Result<Access, CannotAsk> {
    let redis = config::redis(environment, keys);
    let redis = redis.map_err(|reason| CannotAsk::NoRedis { reason })?;
    redis.odd().iter().for_each(|odd| warn!("{odd}"));
    Ok(redis)
}
