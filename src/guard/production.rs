//! Is it production? What NODE_ENV says, and what it only seems to say. Pure.

use crate::clean::clean;

/// What `NODE_ENV` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Production {
    Yes,
    /// It says production, but for case, blanks, line ends or quotes: this is what stands there.
    OddlySpelled(String),
    /// It looks as if production were meant, and doesn't say so: this is what stands there.
    LooksLike(String),
    No,
}

impl Production {
    pub fn new(node_env: &str) -> Self {
        let word = clean(node_env).to_ascii_lowercase();
        match word.as_str() {
            "production" if node_env == "production" => Self::Yes,
            "production" => Self::OddlySpelled(node_env.to_owned()),
            word if looks_like(word) => Self::LooksLike(node_env.to_owned()),
            _ => Self::No,
        }
    }

    pub fn is_production(&self) -> bool {
        matches!(self, Self::Yes | Self::OddlySpelled(_))
    }
}

/// `prod`, `prd` and `live`, alone or with a number, a region or the like, and a mistyped `production`.
fn looks_like(word: &str) -> bool {
    let is_not = ["non", "not", "no-", "pre"].iter().any(|start| word.starts_with(start));
    let is_product = word.strip_prefix("product").is_some_and(|rest| !rest.starts_with(['i', 'o']));
    if is_not || is_product {
        return false;
    }
    let is_live = word.strip_prefix("live");
    word.starts_with("prod")
        || word.starts_with("prd")
        || is_live.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_alphabetic()))
        || word.contains("production")
}

#[cfg(test)]
mod tests {
    use super::Production;

    #[test]
    fn production_is_production_however_it_is_spelled() {
        assert_eq!(Production::new("production"), Production::Yes);
        for text in [
            "\"production\"",
            "'production'",
            "Production",
            "PRODUCTION",
            "production\n",
            "production\r\n",
            " production",
            "\tproduction ",
            "\u{feff}production",
            "\"Production\"\n",
        ] {
            assert_eq!(Production::new(text), Production::OddlySpelled(text.into()), "{text:?}");
        }
    }

    #[test]
    fn what_looks_like_production_is_not_production() {
        for text in [
            "prod",
            "PROD",
            "prd",
            "live",
            "live-eu",
            "\"prod\"\n",
            "prod1",
            "production-eu",
            "producton",
        ] {
            assert_eq!(Production::new(text), Production::LooksLike(text.into()), "{text:?}");
        }
        for text in [
            "",
            " ",
            "development",
            "test",
            "staging",
            "liver",
            "delivery",
            "dev",
            "qa",
            "non-production",
            "pre-production",
            "product",
            "product-test",
        ] {
            assert_eq!(Production::new(text), Production::No, "{text:?}");
        }
    }
}
