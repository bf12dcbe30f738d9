//! `nonna registry` and `nonna release`.

use clap::{Args, Subcommand, ValueEnum};
use nonna_model::{Name, ReleaseNumber};

/// `nonna registry`
#[derive(Debug, Subcommand)]
pub(crate) enum RegistryCommand {
    /// Store credentials for a registry: for fetching images, for builds' base images, for pushing.
    Login(RegistryLoginArgs),
    /// List the registries that credentials are stored for.
    List,
    /// Forget a registry's credentials.
    Logout {
        /// The registry.
        registry: String,
    },
    /// Print the public key that images are signed with.
    Key,
}

/// `nonna registry login`
#[derive(Debug, Args)]
#[command(after_help = "\
The password is asked for, or read from standard input. The registry must let it in before it is stored;
it is sealed in the server's store and never shown again.")]
pub(crate) struct RegistryLoginArgs {
    /// The registry, such as `ghcr.io` or `registry.example:5000`; Docker Hub is `docker.io`.
    pub(crate) registry: String,
    /// As whom.
    #[arg(
        long,
        short = 'u',
        value_name = "NAME",
        required_unless_present = "identity_token"
    )]
    pub(crate) username: Option<String>,
    /// Read the password from standard input even on a terminal.
    #[arg(long)]
    pub(crate) password_stdin: bool,
    /// What is given is an identity token (an OAuth refresh token) instead of a password.
    #[arg(long, conflicts_with = "username")]
    pub(crate) identity_token: bool,
}

/// `nonna release`
#[derive(Debug, Subcommand)]
pub(crate) enum ReleaseCommand {
    /// Print what a release's image is made of.
    Sbom(SbomArgs),
    /// Check the signature of a release's image in its registry.
    Verify(ReleaseArgs),
    /// Push and sign a release's image, if its push failed or it was removed from the registry.
    Push(ReleaseArgs),
}

/// Which release.
#[derive(Debug, Args)]
pub(crate) struct ReleaseArgs {
    /// The release, such as `v3`; without it, the current one.
    pub(crate) release: Option<ReleaseNumber>,
    /// The service; may be left out where there is only one.
    #[arg(long, short = 's', value_name = "NAME")]
    pub(crate) service: Option<Name>,
}

/// `nonna release sbom`
#[derive(Debug, Args)]
pub(crate) struct SbomArgs {
    #[command(flatten)]
    pub(crate) of: ReleaseArgs,
    /// In which form.
    #[arg(long, value_enum, default_value_t = SbomFormat::Spdx)]
    pub(crate) format: SbomFormat,
}

/// The form of a list of what an image is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SbomFormat {
    /// SPDX 2.3, JSON.
    Spdx,
    /// CycloneDX 1.5, JSON.
    Cyclonedx,
}

impl SbomFormat {
    /// As the API names it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Spdx => "spdx",
            Self::Cyclonedx => "cyclonedx",
        }
    }
}
