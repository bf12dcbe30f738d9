//! Connections to forges, and what their webhooks said.

use nonna_engine::Result;
use nonna_model::{ConnectionId, Name, OrganizationId};
use nonna_store::forge::{
    Accepted, Connection, ConnectionChange, ConnectionSecrets, Delivery, DeliveryResult, DeliveryState, LATE,
    NewDelivery, OVERTAKEN, Repeats, already_connected,
};

#[derive(Clone)]
struct Row {
    delivery: Delivery,
    digest: String,
    happened: Option<i64>,
    log: String,
}

#[derive(Clone, Default)]
pub(super) struct Forges {
    connections: Vec<(Connection, ConnectionSecrets)>,
    rows: Vec<Row>,
    last: u64,
}

impl Forges {
    pub(super) fn create(&mut self, new: Connection, secrets: ConnectionSecrets) -> Result<()> {
        let same = |old: &Connection| {
            old.id == new.id
                || (&old.organization, &old.project, &old.url) == (&new.organization, &new.project, &new.url)
        };
        if self.connections.iter().any(|(old, _)| same(old)) {
            return Err(already_connected(&new.url));
        }
        self.connections.push((new, secrets));
        Ok(())
    }

    pub(super) fn connection(&self, id: &ConnectionId) -> Option<Connection> {
        let found = self.connections.iter().find(|(c, _)| c.id == *id);
        found.map(|(connection, _)| connection.clone())
    }

    pub(super) fn secrets(&self, id: &ConnectionId) -> Option<ConnectionSecrets> {
        let found = self.connections.iter().find(|(c, _)| c.id == *id);
        found.map(|(_, secrets)| secrets.clone())
    }

    pub(super) fn list(&self, organization: &OrganizationId, project: Option<&Name>) -> Vec<Connection> {
        let of = |c: &&Connection| {
            c.organization == *organization && project.is_none_or(|project| c.project == *project)
        };
        let mut found: Vec<Connection> = self
            .connections
            .iter()
            .map(|(c, _)| c)
            .filter(of)
            .cloned()
            .collect();
        found.sort_by(|a, b| (a.project.as_str(), &a.url).cmp(&(b.project.as_str(), &b.url)));
        found
    }

    pub(super) fn change(&mut self, id: &ConnectionId, changes: &[ConnectionChange]) -> Option<Connection> {
        let (connection, secrets) = self.connections.iter_mut().find(|(c, _)| c.id == *id)?;
        for change in changes {
            change.apply(connection, secrets);
        }
        Some(connection.clone())
    }

    pub(super) fn remove(&mut self, id: &ConnectionId) -> bool {
        let before = self.connections.len();
        self.connections.retain(|(c, _)| c.id != *id);
        self.rows.retain(|row| row.delivery.connection != *id);
        self.connections.len() < before
    }

    fn of<'a>(&'a self, id: &'a ConnectionId) -> impl DoubleEndedIterator<Item = &'a Row> {
        self.rows.iter().filter(move |row| row.delivery.connection == *id)
    }

    fn is_replay(&self, new: &NewDelivery) -> bool {
        let id = &new.delivery.connection;
        self.of(id)
            .any(|row| row.delivery.delivery == new.delivery.delivery)
            || match new.repeats {
                Repeats::None => false,
                Repeats::Last => self
                    .of(id)
                    .next_back()
                    .is_some_and(|row| row.digest == new.digest),
                Repeats::Any => self.of(id).any(|row| row.digest == new.digest),
            }
    }

    pub(super) fn accept(&mut self, now: i64, new: NewDelivery) -> Option<Accepted> {
        let mut delivery = new.delivery.clone();
        let id = delivery.connection.clone();
        self.connection(&id)?;
        if self.is_replay(&new) {
            return Some(Accepted::Replay);
        }
        let waits = delivery.state == DeliveryState::Waiting;
        let is_late = waits
            && self.of(&id).any(|row| {
                row.delivery.branch == delivery.branch
                    && new
                        .happened
                        .is_some_and(|at| row.happened.is_some_and(|other| other > at))
            });
        let over = |delivery: &mut Delivery, message: &str| {
            delivery.state = DeliveryState::Done;
            delivery.result = Some(DeliveryResult::Superseded);
            message.clone_into(&mut delivery.message);
            delivery.finished_at = Some(now);
        };
        if is_late {
            over(&mut delivery, LATE);
        } else if waits {
            for row in &mut self.rows {
                let other = &mut row.delivery;
                if other.connection == id
                    && other.branch == delivery.branch
                    && other.state == DeliveryState::Waiting
                {
                    over(other, OVERTAKEN);
                }
            }
        }
        self.last += 1;
        delivery.number = self.last;
        self.rows.push(Row {
            delivery: delivery.clone(),
            digest: new.digest,
            happened: new.happened,
            log: String::new(),
        });
        let kept: Vec<u64> = self.of(&id).rev().map(|row| row.delivery.number).collect();
        if let Some(bound) = kept.get(new.keep as usize) {
            self.rows.retain(|row| {
                row.delivery.connection != id
                    || row.delivery.number > *bound
                    || row.delivery.state != DeliveryState::Done
            });
        }
        Some(if is_late {
            Accepted::Late(delivery)
        } else {
            Accepted::New(delivery)
        })
    }

    pub(super) fn take(&mut self, id: &ConnectionId) -> Option<Delivery> {
        let row = self.rows.iter_mut().find(|row| {
            row.delivery.connection == *id
                && matches!(
                    row.delivery.state,
                    DeliveryState::Waiting | DeliveryState::Running
                )
        })?;
        row.delivery.state = DeliveryState::Running;
        Some(row.delivery.clone())
    }

    pub(super) fn update(&mut self, delivery: &Delivery, log: Option<&str>) -> bool {
        let Some(row) = self
            .rows
            .iter_mut()
            .find(|row| row.delivery.number == delivery.number)
        else {
            return false;
        };
        row.delivery = delivery.clone();
        if let Some(log) = log {
            log.clone_into(&mut row.log);
        }
        true
    }

    pub(super) fn unfinished(&self) -> Vec<Delivery> {
        let open = self
            .rows
            .iter()
            .filter(|row| row.delivery.state != DeliveryState::Done);
        open.map(|row| row.delivery.clone()).collect()
    }

    pub(super) fn deliveries(&self, id: &ConnectionId, before: Option<u64>, limit: u32) -> Vec<Delivery> {
        self.of(id)
            .rev()
            .filter(|row| before.is_none_or(|before| row.delivery.number < before))
            .take(limit as usize)
            .map(|row| row.delivery.clone())
            .collect()
    }

    pub(super) fn delivery(&self, id: &ConnectionId, number: u64) -> Option<(Delivery, String)> {
        let found = self.of(id).find(|row| row.delivery.number == number)?;
        Some((found.delivery.clone(), found.log.clone()))
    }
}
