//! What a fuzzer tells of itself, line by line.

/// What it told last.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    /// How many inputs it has given.
    pub(super) inputs: u64,
    /// How many edges of the program they have reached.
    pub(super) edges: u64,
    /// How many edges it has.
    pub(super) edges_all: u64,
}

impl Told {
    /// Takes what is of use from a line.
    pub(super) fn hear(&mut self, line: &str) {
        let words: Vec<_> = line.split_whitespace().collect();
        if let Some(inputs) = words.first().and_then(|word| word.strip_prefix('#')) {
            self.inputs = inputs.parse().unwrap_or(self.inputs);
        }
        for pair in words.windows(2) {
            match pair {
                ["cov:", edges] => self.edges = edges.parse().unwrap_or(self.edges),
                ["stat::number_of_executed_units:", inputs] => {
                    self.inputs = inputs.parse().unwrap_or(self.inputs);
                }
                [edges, "inline"] => {
                    let edges = edges.trim_start_matches('(').parse();
                    self.edges_all = edges.unwrap_or(self.edges_all);
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_fuzzer_tells_is_understood() {
        let mut told = Told::default();
        told.hear("INFO: Loaded 1 modules   (60123 inline 8-bit counters): 60123 [0x1, 0x2),");
        told.hear("#131072\tpulse  cov: 903 ft: 1200 corp: 81/9Kb lim: 4096 exec/s: 43690");
        let under_way = Told {
            inputs: 131_072,
            edges: 903,
            edges_all: 60_123,
        };
        assert_eq!(told, under_way);
        told.hear("#200000\tDONE   cov: 911 ft: 1210 corp: 83/9Kb lim: 4096 exec/s: 40000");
        told.hear("stat::number_of_executed_units: 200001");
        assert_eq!((told.inputs, told.edges), (200_001, 911));
    }
}
