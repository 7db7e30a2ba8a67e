//! `$((…))`: integers, variables, the operators people use.

/// Evaluates an expression; names are looked up with `variable`.
pub(crate) fn evaluate(text: &str, variable: &dyn Fn(&str) -> String) -> Result<i64, String> {
    let mut parser = Parser {
        rest: text,
        variable,
        depth: 0,
    };
    let value = parser.binary(0)?;
    parser.blanks();
    if parser.rest.is_empty() {
        Ok(value)
    } else {
        Err(parser.error())
    }
}

struct Parser<'a> {
    rest: &'a str,
    variable: &'a dyn Fn(&str) -> String,
    depth: u32,
}

/// Binary operators by precedence; longer ones first where one starts with another.
const LEVELS: [&[&str]; 6] = [
    &["||"],
    &["&&"],
    &["==", "!="],
    &["<=", ">=", "<", ">"],
    &["+", "-"],
    &["*", "/", "%"],
];

impl Parser<'_> {
    fn error(&self) -> String {
        format!(
            "arithmetic syntax error near '{}'",
            self.rest.chars().take(20).collect::<String>()
        )
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, text: &str) -> bool {
        self.blanks();
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn binary(&mut self, level: usize) -> Result<i64, String> {
        let Some(operators) = LEVELS.get(level) else {
            return self.unary();
        };
        let mut left = self.binary(level + 1)?;
        while let Some(operator) = operators.iter().find(|operator| self.eat(operator)) {
            let right = self.binary(level + 1)?;
            left = apply(operator, left, right)?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<i64, String> {
        self.depth += 1;
        if self.depth > 50 {
            return Err("expression too deep".to_owned());
        }
        let value = if self.eat("-") {
            self.unary()?.wrapping_neg()
        } else if self.eat("+") {
            self.unary()?
        } else if self.eat("!") {
            i64::from(self.unary()? == 0)
        } else if self.eat("(") {
            let value = self.binary(0)?;
            if !self.eat(")") {
                return Err(self.error());
            }
            value
        } else {
            self.atom()?
        };
        self.depth -= 1;
        Ok(value)
    }

    fn atom(&mut self) -> Result<i64, String> {
        self.blanks();
        let rest = self
            .rest
            .trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
        let word = self.rest.strip_suffix(rest).unwrap_or_default();
        if word.is_empty() {
            return if self.rest.is_empty() {
                Ok(0)
            } else {
                Err(self.error())
            };
        }
        self.rest = rest;
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            let hexadecimal = word
                .strip_prefix("0x")
                .map(|digits| i64::from_str_radix(digits, 16));
            return hexadecimal
                .unwrap_or_else(|| word.parse())
                .map_err(|_| self.error());
        }
        Ok((self.variable)(word).trim().parse().unwrap_or(0))
    }
}

fn apply(operator: &str, left: i64, right: i64) -> Result<i64, String> {
    let zero = || "division by zero".to_owned();
    Ok(match operator {
        "||" => i64::from(left != 0 || right != 0),
        "&&" => i64::from(left != 0 && right != 0),
        "==" => i64::from(left == right),
        "!=" => i64::from(left != right),
        "<=" => i64::from(left <= right),
        ">=" => i64::from(left >= right),
        "<" => i64::from(left < right),
        ">" => i64::from(left > right),
        "+" => left.wrapping_add(right),
        "-" => left.wrapping_sub(right),
        "*" => left.wrapping_mul(right),
        "/" => left.checked_div(right).ok_or_else(zero)?,
        _ => left.checked_rem(right).ok_or_else(zero)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn computes() {
        let value = |text: &str| {
            evaluate(text, &|name| {
                if name == "x" {
                    "5".into()
                } else {
                    String::new()
                }
            })
        };
        assert_eq!(value("40+2"), Ok(42));
        assert_eq!(value(" 1 + 2 * (3 - x) "), Ok(-3));
        assert_eq!(value("x % 3 == 2 && !unset"), Ok(1));
        assert_eq!(value(""), Ok(0));
        assert!(value("1/0").is_err());
        assert!(value("1 +* 2").is_err());
        assert!(value(&"(".repeat(100_000)).is_err());
        assert!(value(&"-".repeat(100_000)).is_err());
    }
}
