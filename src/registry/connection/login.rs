//! The login: the first commands of a connection, and what their replies mean. Pure.

use std::fmt;

use redis::{Cmd, Value, cmd};

use super::error::ConnectionError;
use crate::escape::Escape;

/// Who logs in, and which database is selected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Login {
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub database: u32,
}

/// Bytes that are shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("***")
    }
}

/// So many characters of an error reply are looked at, and so many told.
const MAX_READ: usize = 4096;
const MAX_TOLD: usize = 512;

/// What the reply to a login means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Welcome,
    /// The server asks for no password: what follows it was done all the same.
    Needless,
    /// A server before Redis 6, which knows no users: the password alone is to be tried.
    NoUsers,
    /// Whatever else is wrong; the server's words tell.
    Refused,
}

impl Login {
    /// AUTH and SELECT, as far as they are needed.
    pub fn commands(&self) -> Vec<Cmd> {
        let mut commands = Vec::new();
        if let Some(Secret(password)) = &self.password {
            let mut auth = cmd("AUTH");
            if let Some(user) = &self.user {
                auth.arg(user);
            }
            commands.push(auth.arg(password).clone());
        }
        if self.database != 0 {
            commands.push(cmd("SELECT").arg(self.database).clone());
        }
        commands
    }

    /// What the first reply says, where the first command was an AUTH.
    pub fn answer(&self, reply: Option<&Value>) -> Answer {
        match reply {
            Some(Value::ServerError(error)) if self.password.is_some() => {
                let words = error.details().unwrap_or_default().to_ascii_lowercase();
                // DENIED, of the protected mode, has some of the same words.
                if error.code() != "ERR" {
                    Answer::Refused
                } else if ["no password is set", "without any password configured"]
                    .iter()
                    .any(|known| words.contains(known))
                {
                    Answer::Needless
                } else if self.user.is_some() && words.contains("wrong number of arguments") {
                    Answer::NoUsers
                } else {
                    Answer::Refused
                }
            }
            Some(Value::ServerError(_)) => Answer::Refused,
            _ => Answer::Welcome,
        }
    }

    /// An error reply in the server's own words, harmless and without the password.
    pub fn complaint(&self, code: &str, detail: Option<&str>) -> ConnectionError {
        let text = format!("{code} {}", detail.unwrap_or_default());
        let text: String = text.chars().take(MAX_READ).collect();
        let redacted: String = self.redact(text.trim()).chars().take(MAX_TOLD).collect();
        let text = match redacted.trim_end_matches('.') {
            "" => "an error without any words".to_owned(),
            text => Escape(text).to_string(),
        };
        if matches!(code, "WRONGPASS" | "NOAUTH") || text.contains("invalid password") {
            ConnectionError::Login { text }
        } else {
            ConnectionError::Redis { code: Escape(code).to_string(), text }
        }
    }

    /// The text without the password, whole or cut short, and without what a server quotes of a command
    /// that it does not know: Redis shows the first 128 bytes, and with them any part of a password.
    fn redact(&self, text: &str) -> String {
        /// No word that happens to begin like the password is that long.
        const TELLING: usize = 16;
        let text = text.split(", with args beginning with").next().unwrap_or_default();
        let Some(Secret(password)) = &self.password else { return text.to_owned() };
        let password = String::from_utf8_lossy(password);
        let beginnings = password.char_indices().map(|(end, _)| end).rev();
        [password.len()]
            .into_iter()
            .chain(beginnings.filter(|end| *end >= TELLING))
            .filter_map(|end| password.get(..end).filter(|part| !part.is_empty()))
            .fold(text.to_owned(), |text, part| text.replace(part, "***"))
    }
}

#[cfg(test)]
mod tests {
    use redis::{Value, parse_redis_value};

    use super::{Answer, Login, Secret};

    fn login(user: Option<&str>, password: &str) -> Login {
        let password = Some(Secret(password.as_bytes().to_vec()));
        Login { user: user.map(str::to_owned), password, database: 0 }
    }

    #[test]
    fn the_first_commands_are_those_that_are_needed() {
        let words = |login: Login| -> Vec<String> {
            let packed = login.commands().into_iter().map(|command| command.get_packed_command());
            packed.map(|bytes| String::from_utf8(bytes).unwrap().replace("\r\n", " ")).collect()
        };
        assert_eq!(words(Login::default()), [""; 0]);
        assert_eq!(words(login(None, "pw")), ["*2 $4 AUTH $2 pw "]);
        let with_database = Login { database: 3, ..login(Some("me"), "pw") };
        assert_eq!(words(with_database), ["*3 $4 AUTH $2 me $2 pw ", "*2 $6 SELECT $1 3 "]);
    }

    #[test]
    fn the_servers_words_tell_what_became_of_the_login() {
        let with_user = login(Some("me"), "pw");
        for (reply, answer) in [
            ("+OK\r\n", Answer::Welcome),
            ("-ERR Client sent AUTH, but no password is set\r\n", Answer::Needless),
            (
                "-ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?\r\n",
                Answer::Needless,
            ),
            ("-ERR wrong number of arguments for 'auth' command\r\n", Answer::NoUsers),
            ("-WRONGPASS invalid username-password pair or user is disabled.\r\n", Answer::Refused),
            ("-ERR max number of clients reached\r\n", Answer::Refused),
            (
                "-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the default user.\r\n",
                Answer::Refused,
            ),
        ] {
            let reply: Value = parse_redis_value(reply.as_bytes()).unwrap();
            assert_eq!(with_user.answer(Some(&reply)), answer, "{reply:?}");
        }
    }

    #[test]
    fn an_error_reply_shows_neither_the_password_nor_what_was_cut_off_it() {
        let long = "correct-horse-battery-staple";
        for (text, password, shown) in [
            ("ERR no 'AUTH' 'hunter2'", "hunter2", "ERR no 'AUTH' '***'"),
            ("ERR correct-horse-bat is odd", long, "ERR *** is odd"),
            (
                "ERR unknown command 'AUTH', with args beginning with: 'worker' 'corr' ",
                long,
                "ERR unknown command 'AUTH'",
            ),
            ("ERR unknown", "", "ERR unknown"),
        ] {
            assert_eq!(login(None, password).redact(text), shown);
        }
    }

    #[test]
    fn a_word_that_only_begins_like_the_password_stays() {
        for (text, password) in [
            ("ERR redis is not well", "redis-prod-1"),
            ("NOPERM this user has no permissions", "user1234"),
            ("ERR no command 'pass'", "password"),
        ] {
            assert_eq!(login(None, password).redact(text), text);
        }
    }
}
