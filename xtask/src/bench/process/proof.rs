//! The header in which the platform says how it served a request, taken apart.

/// A field of `usher-run`.
pub(super) fn field<'a>(run: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = run
        .split(',')
        .filter_map(|field| field.trim().split_once('='));
    fields.find_map(|(key, value)| (key == name).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_proof_are_found() {
        let run = "env=7, area=14, gen=3, start=cold, renewal=replaced, renew_us=20";
        assert_eq!(field(run, "start"), Some("cold"));
        assert_eq!(field(run, "renew_us"), Some("20"));
        assert_eq!(field(run, "renew"), None);
    }
}
