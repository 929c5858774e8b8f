"""Arguments that try to be more than a value."""

from __future__ import annotations

from hypothesis import strategies as st

NASTY = st.one_of(
    st.text(),
    st.text(alphabet="./\\%?#&=@:{}\r\n\t\x00 aZ0;|\"'<>2eEfF"),
    st.sampled_from(
        [
            *("..", ".", "%2e%2e", "../..", "..%2f", "..\\", "/", "//evil.test/", "?a=1", "#x"),
            *("@evil.test", "http://evil.test", "a\r\nX-Evil: 1", "%00", "{city}", "{{x}}", ""),
            *("\u2025", "．．", "。。", "\ufeff", "a&admin=1", "a;b", "a|b"),
        ]
    ),
)
