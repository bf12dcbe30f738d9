//! What a start does before anything else: routes from the store and an
//! observation, then the deployments that an earlier process left.

use nonna_engine::Result;
use nonna_store::records::{Deployment, DeploymentState};

use super::desired::Planned;
use super::intent::Intent;
use super::manager::{Deployments, INTENT};

impl Deployments {
    /// Goes on with every deployment that is not finished, in the order in
    /// which they were asked for.
    pub(crate) async fn resume(&self) -> Result<usize> {
        let unfinished = self.parts.store.unfinished_deployments().await?;
        let count = unfinished.len();
        for deployment in unfinished {
            let scope = &deployment.plan.scope;
            let place = (scope.project_name.clone(), scope.environment_name.clone());
            let ticket = self.queues.enter(place, deployment.id.clone());
            if deployment.cancel_requested {
                ticket.cancel.cancel();
            }
            tracing::info!(deployment = %deployment.id, state = %deployment.state, "deployment resumed");
            let this = self.clone();
            self.tasks.spawn(async move {
                match this.waiting_intent(&deployment).await {
                    Some((intent, expected)) => {
                        let planned = Planned::again(deployment.plan);
                        this.queued(ticket, intent, expected, planned).await;
                    }
                    None => this.go_on(ticket, deployment).await,
                }
            });
        }
        Ok(count)
    }

    /// What a deployment that never began was asked for.
    async fn waiting_intent(&self, deployment: &Deployment) -> Option<(Intent, Option<String>)> {
        if deployment.state != DeploymentState::Queued {
            return None;
        }
        let kept = self.parts.store.get_blob(INTENT, deployment.id.as_str()).await;
        match kept {
            Ok(Some(text)) => serde_json::from_slice(&text).ok(),
            Ok(None) => None,
            Err(error) => {
                tracing::error!(deployment = %deployment.id, %error, "what was asked for cannot be read");
                None
            }
        }
    }

    async fn go_on(&self, mut ticket: super::queue::Ticket, deployment: Deployment) {
        tokio::select! {
            () = ticket.wait() => {}
            () = self.closing.cancelled() => return,
        }
        if let Err(error) = self.parts.store.start_deployment(&deployment.id).await {
            tracing::error!(deployment = %deployment.id, %error, "a deployment could not be resumed");
            return;
        }
        self.begin(ticket, deployment);
    }
}
