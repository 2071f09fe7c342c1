//! The paths that a Rust source names, by reading its text.
//!
//! This is not a parser. It knows comments, literals, `use` trees and inline modules, which is
//! enough to find every `a::b::c` with its line in code that compiles.

/// A path in the code.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reference {
    pub(super) line: usize,
    /// Names of the path. A path that began with `super` or `self` begins with `crate` here.
    pub(super) segments: Vec<String>,
    /// Name that a `use` brings into scope; `None` for a path outside of a `use`.
    pub(super) imported: Option<String>,
}

impl Reference {
    /// Whether the first name can be a crate. A single name outside of a `use` is a variable.
    pub(super) fn may_begin_with_a_crate(&self) -> bool {
        self.segments.len() > 1 || self.imported.is_some()
    }
}

/// Reads the paths of a file that is the module `module` (its names from the crate's root on).
/// Paths in items that only tests compile are left out.
pub(super) fn references(module: &[&str], text: &str) -> Vec<Reference> {
    let tokens = without_tests(&tokens(text));
    let mut reader = Reader {
        tokens: &tokens,
        at: 0,
        module: module.iter().map(|&name| name.to_owned()).collect(),
        inline: Vec::new(),
        braces: 0,
        found: Vec::new(),
    };
    reader.read();
    reader.found
}

#[derive(Clone, Debug)]
struct Token {
    text: String,
    line: usize,
}

impl Token {
    fn is_name(&self) -> bool {
        self.text.starts_with(is_name_letter)
    }
}

fn is_name_letter(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Splits a text into names, numbers, `::` and single signs. Comments and other literals are
/// left out.
fn tokens(text: &str) -> Vec<Token> {
    let letters: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < letters.len() {
        let end = token_end(&letters, at);
        let text: String = letters[at..end].iter().collect();
        let lines = text.matches('\n').count();
        if is_name_letter(letters[at]) && !text.contains('"') {
            let text = text.trim_start_matches("r#").to_owned();
            tokens.push(Token { text, line });
        } else if text == "::" || (end == at + 1 && !letters[at].is_whitespace()) {
            tokens.push(Token { text, line });
        }
        at = end;
        line += lines;
    }
    tokens
}

/// Returns the end of the comment, literal, name or sign that begins at `at`.
fn token_end(letters: &[char], at: usize) -> usize {
    let next = letters.get(at + 1);
    match letters[at] {
        '/' if next == Some(&'/') => find(letters, at, |l| l == '\n'),
        '/' if next == Some(&'*') => block_comment_end(letters, at),
        '"' => string_end(letters, at),
        '\'' => quote_end(letters, at),
        ':' if next == Some(&':') => at + 2,
        letter if is_name_letter(letter) => name_end(letters, at),
        _ => at + 1,
    }
}

fn find(letters: &[char], from: usize, wanted: impl Fn(char) -> bool) -> usize {
    let found = letters[from..].iter().position(|&letter| wanted(letter));
    found.map_or(letters.len(), |offset| from + offset)
}

fn block_comment_end(letters: &[char], at: usize) -> usize {
    let (mut depth, mut at) = (0, at);
    while at < letters.len() {
        match (letters[at], letters.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string_end(letters: &[char], at: usize) -> usize {
    let mut at = at + 1;
    while at < letters.len() && letters[at] != '"' {
        at += if letters[at] == '\\' { 2 } else { 1 };
    }
    letters.len().min(at + 1)
}

/// Returns the end of a character or a lifetime.
fn quote_end(letters: &[char], at: usize) -> usize {
    if letters.get(at + 1) == Some(&'\\') {
        return letters
            .len()
            .min(find(letters, (at + 3).min(letters.len()), |l| l == '\'') + 1);
    }
    if letters.get(at + 2) == Some(&'\'') {
        return at + 3;
    }
    find(letters, at + 1, |letter| !is_name_letter(letter))
}

/// Returns the end of a name, a number, a raw name, or a literal that begins with letters (`b"`,
/// `r#"`).
fn name_end(letters: &[char], at: usize) -> usize {
    let end = find(letters, at, |letter| !is_name_letter(letter));
    let prefix: String = letters[at..end].iter().collect();
    let raw = matches!(prefix.as_str(), "r" | "br" | "cr");
    let quote = find(letters, end, |letter| letter != '#');
    match letters.get(quote) {
        Some('"') if raw => raw_string_end(letters, quote, quote - end),
        Some('"') if quote == end && matches!(prefix.as_str(), "b" | "c") => {
            string_end(letters, quote)
        }
        Some(&letter) if prefix == "r" && quote == end + 1 && is_name_letter(letter) => {
            find(letters, quote, |letter| !is_name_letter(letter))
        }
        _ => end,
    }
}

fn raw_string_end(letters: &[char], quote: usize, hashes: usize) -> usize {
    let mut at = quote + 1;
    while at < letters.len() {
        at = find(letters, at, |letter| letter == '"') + 1;
        let after = letters.get(at..at + hashes);
        if after.is_some_and(|after| after.iter().all(|&letter| letter == '#')) {
            return at + hashes;
        }
    }
    letters.len()
}

/// Removes the item after each `#[cfg(test)]`.
fn without_tests(tokens: &[Token]) -> Vec<Token> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let rest = &tokens[at..];
        let marked = rest.len() >= MARK.len()
            && rest
                .iter()
                .zip(MARK)
                .all(|(token, mark)| token.text == mark);
        if marked {
            at += MARK.len();
            at += item_length(&tokens[at..]);
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// Number of tokens of an item, up to its `;`, its closing brace, or (for a field) its comma.
fn item_length(tokens: &[Token]) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            ";" | "," if depth == 0 => return at + 1,
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" if depth == 0 => return at,
            "}" if depth == 1 => return at + 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
    }
    tokens.len()
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
    module: Vec<String>,
    /// For each inline module that is being read: number of braces open around it.
    inline: Vec<usize>,
    braces: usize,
    found: Vec<Reference>,
}

impl Reader<'_> {
    fn read(&mut self) {
        while self.at < self.tokens.len() {
            match self.text(0) {
                "use" if self.text(1) != "<" => {
                    self.at += 1;
                    self.tree(&[]);
                }
                "mod" if self.text(2) == "{" => self.open_module(),
                "{" => {
                    self.braces += 1;
                    self.at += 1;
                }
                "}" => self.close_brace(),
                "::" => self.path(),
                _ if self.tokens[self.at].is_name() => self.path(),
                _ => self.at += 1,
            }
        }
    }

    fn text(&self, ahead: usize) -> &str {
        let token = self.tokens.get(self.at + ahead);
        token.map_or("", |token| token.text.as_str())
    }

    fn open_module(&mut self) {
        let name = self.text(1).to_owned();
        self.module.push(name);
        self.inline.push(self.braces);
        self.braces += 1;
        self.at += 3;
    }

    fn close_brace(&mut self) {
        self.braces = self.braces.saturating_sub(1);
        if self.inline.last() == Some(&self.braces) {
            self.inline.pop();
            self.module.pop();
        }
        self.at += 1;
    }

    /// Reads a path outside of a `use`.
    fn path(&mut self) {
        let line = self.tokens[self.at].line;
        let mut segments = Vec::new();
        // The name after `<T as Trait>::` is in that trait, not a crate.
        if self.text(0) == "::" && self.at > 0 && self.tokens[self.at - 1].text == ">" {
            segments.push(String::new());
        }
        self.segments(&mut segments);
        self.push(line, segments, None);
    }

    fn segments(&mut self, segments: &mut Vec<String>) {
        if self.text(0) == "::" {
            self.at += 1;
        }
        while self.tokens.get(self.at).is_some_and(Token::is_name) {
            segments.push(self.text(0).to_owned());
            self.at += 1;
            if self.text(0) != "::" {
                break;
            }
            self.at += 1;
        }
    }

    /// Reads a `use` tree below `prefix`.
    fn tree(&mut self, prefix: &[String]) {
        let line = self.tokens.get(self.at).map_or(0, |token| token.line);
        let mut segments = prefix.to_vec();
        self.segments(&mut segments);
        match self.text(0) {
            "{" => return self.group(&segments),
            "*" => {
                segments.push("*".to_owned());
                self.at += 1;
            }
            _ => {}
        }
        if segments.len() > 1 && segments.last().is_some_and(|last| last == "self") {
            segments.pop();
        }
        let mut imported = segments.last().cloned().unwrap_or_default();
        if self.text(0) == "as" {
            imported = self.text(1).to_owned();
            self.at += 2;
        }
        self.push(line, segments, Some(imported));
    }

    fn group(&mut self, prefix: &[String]) {
        self.at += 1;
        while self.at < self.tokens.len() {
            match self.text(0) {
                "}" => {
                    self.at += 1;
                    return;
                }
                "{" | "*" | "::" => self.tree(prefix),
                _ if self.tokens[self.at].is_name() => self.tree(prefix),
                _ => self.at += 1,
            }
        }
    }

    fn push(&mut self, line: usize, segments: Vec<String>, imported: Option<String>) {
        let segments = self.resolved(segments);
        if !segments.is_empty() {
            self.found.push(Reference {
                line,
                segments,
                imported,
            });
        }
    }

    fn resolved(&self, segments: Vec<String>) -> Vec<String> {
        let supers = segments
            .iter()
            .skip_while(|name| *name == "self")
            .take_while(|name| *name == "super")
            .count();
        let selfs = segments.iter().take_while(|name| *name == "self").count();
        // A single `self` is the receiver of a method.
        if supers + selfs == 0 || segments.len() == 1 {
            return segments;
        }
        let above = self.module.len().saturating_sub(supers);
        let mut absolute = vec!["crate".to_owned()];
        absolute.extend_from_slice(&self.module[..above]);
        absolute.extend(segments.into_iter().skip(selfs + supers));
        absolute
    }
}
