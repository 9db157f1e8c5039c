"""File names that are more than names: paths, commands, markup, and text that is none."""

TEXTS = (
    "",
    ".",
    "..",
    "/",
    "../../../etc/passwd",
    "..\\..\\windows\\win.ini",
    "/etc/passwd",
    "C:\\CON",
    "\\\\host\\share\\a.wav",
    "file:///etc/passwd",
    "~root/.ssh/id_rsa",
    "%2e%2e%2f%2e%2e%2fkey",
    "-rf",
    "--output=/tmp",
    "$(touch written).wav",
    "`touch written`.wav",
    "; touch written;.wav",
    "'; DROP TABLE jobs; --.wav",
    '"><script>alert(1)</script>.wav',
    "{job_id}%s%n${HOME}{{7*7}}.wav",
    "name\r\nSet-Cookie: a=b.wav",
    "line\nbreak.wav",
    "nul\0byte.wav",
    "\x1b]0;title\x07\x1b[31mred.wav",
    "[bold red]markup[/bold red][/].wav",
    "\u202egpj.exe\u202c.wav",
    "\ufeffmark.wav",
    "\uffff\ufffe.wav",
    "zero\u200bwidth\u200d\u2060.wav",
    "e\u0301 and \u00e9.wav",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467.wav",
    "o" + "\u0300" * 100 + ".wav",
    " \t .wav ",
    "\U00010348" * 255,
)
# Not text at all, or longer than is accepted: JSON as it is sent.
NO_TEXTS = (r'"\ud800.wav"', r'"\udfff\ud800"', f'"{"x" * 256}"', "1", "null", '["a.wav"]', '{"a": "b"}', "true")
# What a file system takes, in bytes.
ON_DISK = (
    *(name.encode() for name in TEXTS if name.strip(".") and not {"/", "\0"} & {*name} and len(name) < 200),
    *(b"\xff\xfe not text.wav", b"\xc3( broken.wav", b"\xed\xa0\x80 half.wav", b"y" * 251 + b".wav"),
)
