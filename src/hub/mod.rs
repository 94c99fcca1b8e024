//! Models of Hugging Face's hub by their names, `EleutherAI/pythia-410m@step143000`, in the cache that Python's
//! `huggingface_hub` keeps: what one has downloaded the other finds.
//!
//! Its variables mean here what they mean there: `HF_ENDPOINT`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HOME`, `HF_HUB_CACHE`,
//! `HF_HUB_OFFLINE`.
mod cache;
#[cfg(feature = "hub")]
mod client;
#[cfg(feature = "hub")]
mod files;
mod name;
#[cfg(feature = "hub")]
mod snapshot;

use crate::{Error, Result};
use cache::Cache;
use name::Name;
use std::borrow::Cow;
use std::path::Path;

/// Where the model is that `path` names: there, or, where nothing is there and the name may be one of the hub, in the
/// cache, after it was downloaded.
///
/// # Errors
/// Refused where the hub has no such model or does not give it; failed where it cannot be reached.
pub fn locate(path: &Path) -> Result<Cow<'_, Path>> {
    let Some(name) = Name::parse(path).filter(|name| !name.may_be_local()) else {
        return Ok(Cow::Borrowed(path));
    };
    let cache = Cache::of_environment()?;
    if is_set("HF_HUB_OFFLINE") || is_set("TRANSFORMERS_OFFLINE") {
        return cache.snapshot(&name).map(Cow::Owned).ok_or_else(|| {
            Error::refused(format!(
                "{} is not a directory, and as a model of the hub it is not in the cache {}, which is all that HF_HUB_OFFLINE \
                 allows; download it first, or unset that",
                path.display(),
                cache.root().display()
            ))
        });
    }
    download(&cache, &name).map(Cow::Owned)
}

#[cfg(feature = "hub")]
fn download(cache: &Cache, name: &Name) -> Result<std::path::PathBuf> {
    snapshot::fetch(cache, name)
}

#[cfg(not(feature = "hub"))]
fn download(cache: &Cache, name: &Name) -> Result<std::path::PathBuf> {
    cache.snapshot(name).ok_or_else(|| {
        Error::refused(format!(
            "{name} is not a directory, and this rewarm was built without the feature `hub`, so it downloads no models; build \
             it with that, or download the model (hf download) and give its folder"
        ))
    })
}

/// As Python reads such variables.
fn is_set(variable: &str) -> bool {
    std::env::var(variable)
        .is_ok_and(|value| ["1", "ON", "YES", "TRUE"].contains(&value.to_uppercase().as_str()))
}
