//! Placeholder of the workspace skeleton.

/// Runs the chore.
pub(crate) fn run(_arguments: &[String]) -> anyhow::Result<()> {
    anyhow::bail!("not there yet")
}
