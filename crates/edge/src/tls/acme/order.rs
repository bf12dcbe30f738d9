//! One order of a certificate.

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeType, Identifier, NewOrder, Order,
    OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use super::saved::Saved;
use super::{Challenge, refused};
use crate::error::EdgeError;
use crate::tls::Challenges;

/// Orders a certificate for a host, proves that the host is ours, and returns
/// the chain and its key in PEM. `replaces`: what it renews, where the
/// authority wants to know.
pub(super) async fn get(
    account: &Account,
    challenges: &Challenges,
    host: &str,
    kind: Challenge,
    replaces: Option<&Saved>,
) -> Result<(String, String), EdgeError> {
    let identifiers = [Identifier::Dns(host.to_owned())];
    let leaf = replaces.and_then(Saved::leaf);
    let mut new = NewOrder::new(&identifiers);
    if let Some(id) = leaf
        .as_ref()
        .and_then(|leaf| CertificateIdentifier::try_from(leaf).ok())
    {
        new = new.replaces(id);
    }
    let mut order = account.new_order(&new).await.map_err(refused)?;
    let mut open = Open {
        tokens: Vec::new(),
        tls: false,
    };
    let proved = prove(&mut order, challenges, host, kind, &mut open).await;
    // Whatever came of it, nobody asks for the proof again.
    for token in &open.tokens {
        challenges.remove_http(token).await;
    }
    if open.tls {
        challenges.remove_tls(host).await;
    }
    proved?;
    let key = KeyPair::generate().map_err(refused)?;
    let mut params = CertificateParams::new(vec![host.to_owned()]).map_err(refused)?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key).map_err(refused)?;
    order.finalize_csr(request.der()).await.map_err(refused)?;
    let chain = order
        .poll_certificate(&RetryPolicy::default())
        .await
        .map_err(refused)?;
    Ok((chain, key.serialize_pem()))
}

/// The challenges that are answered at the moment.
struct Open {
    tokens: Vec<String>,
    tls: bool,
}

async fn prove(
    order: &mut Order,
    challenges: &Challenges,
    host: &str,
    kind: Challenge,
    open: &mut Open,
) -> Result<(), EdgeError> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(refused)?;
        match authorization.status {
            AuthorizationStatus::Pending => {}
            AuthorizationStatus::Valid => continue,
            status => return Err(refused(format!("the authorization for {host} is {status:?}"))),
        }
        let wanted = match kind {
            Challenge::Http01 => ChallengeType::Http01,
            Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
        };
        let mut challenge = authorization
            .challenge(wanted)
            .ok_or_else(|| refused(format!("the authority does not offer {kind:?} for {host}")))?;
        let proof = challenge.key_authorization();
        match kind {
            Challenge::Http01 => {
                let token = proof.as_str().split('.').next().unwrap_or_default().to_owned();
                challenges.add_http(&token, proof.as_str()).await?;
                open.tokens.push(token);
            }
            Challenge::TlsAlpn01 => {
                challenges.add_tls(host, proof.digest().as_ref()).await?;
                open.tls = true;
            }
        }
        challenge.set_ready().await.map_err(refused)?;
    }
    let status = order.poll_ready(&RetryPolicy::default()).await.map_err(refused)?;
    if status == OrderStatus::Ready {
        return Ok(());
    }
    // The order says only that it is invalid; the authorization says why.
    let mut why = String::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if let Ok(state) = authorization.refresh().await {
            for challenge in &state.challenges {
                if let Some(error) = &challenge.error {
                    why = format!(": {error}");
                }
            }
        }
    }
    Err(refused(format!("{host} could not be proved to be ours{why}")))
}
