//! Variables and secrets.

use nonna_api::{VariableAnswer, VariableScope, VariablesAnswer, VariablesRequest, paths};
use nonna_engine::Result;
use reqwest::Method;
use secrecy::SecretString;

use super::Place;
use crate::http::Client;

impl Client {
    /// The variables and secrets that an environment sees, of every scope.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn variables(&self, place: &Place, scope: &VariableScope) -> Result<Vec<VariableAnswer>> {
        let request = self
            .request(Method::GET, paths::VARIABLES, &place.fill())
            .query(scope);
        let page: nonna_api::Page<VariableAnswer> = self.json(request).await?;
        Ok(page.items)
    }

    /// Sets and removes variables or secrets.
    ///
    /// # Errors
    /// `InvalidInput`.
    pub async fn change_variables(
        &self,
        place: &Place,
        scope: &VariableScope,
        change: &VariablesRequest,
    ) -> Result<VariablesAnswer> {
        let request = self
            .request(Method::POST, paths::VARIABLES, &place.fill())
            .query(scope);
        self.json(request.json(change)).await
    }

    /// A secret's value.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub async fn secret(&self, place: &Place, scope: &VariableScope, name: &str) -> Result<SecretString> {
        let request = self
            .request(Method::GET, paths::SECRET, &place.fill_with(name))
            .query(scope);
        let answer: VariableAnswer = self.json(request).await?;
        Ok(answer.value.unwrap_or_default().into())
    }
}
