//! What has to be there. Pure.

use std::str::FromStr;

use crate::registry::WorkerType;

/// `TYPE`, `TYPE=3` for at least three, or `TYPE=0..2` for what may be scaled to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    pub worker_type: WorkerType,
    /// At least so many on the expected SHA; `None` for any number, which at least has to be there.
    pub least: Option<usize>,
    pub most: Option<usize>,
}

impl FromStr for Requirement {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected TYPE, TYPE=3 or TYPE=0..2";
        let Some((worker_type, count)) = text.split_once('=') else {
            return Ok(Self { worker_type: text.parse()?, least: None, most: None });
        };
        let worker_type = worker_type.trim().parse()?;
        let number = |text: &str| text.trim().parse::<u16>().map(usize::from).map_err(|_| EXPECTED);
        let (least, most) = match count.split_once("..") {
            Some((least, most)) => (number(least)?, Some(number(most)?)),
            None => (number(count)?, None),
        };
        if most.is_some_and(|most| most < least) {
            return Err(EXPECTED);
        }
        Ok(Self { worker_type, least: Some(least), most })
    }
}

#[cfg(test)]
mod tests {
    use super::Requirement;

    #[test]
    fn a_requirement_is_a_type_and_how_many() {
        for (text, least, most) in
            [("ocr", None, None), ("ocr=3", Some(3), None), ("ocr = 0..2", Some(0), Some(2))]
        {
            let required: Requirement = text.parse().unwrap();
            assert_eq!(required.worker_type.as_str(), "ocr");
            assert_eq!((required.least, required.most), (least, most), "{text}");
        }
        for text in
            ["", "o cr", "ocr=", "ocr=x", "ocr=-1", "ocr=2..1", "ocr=..2", "=3", "ocr=99999"]
        {
            assert!(text.parse::<Requirement>().is_err(), "{text}");
        }
    }
}
