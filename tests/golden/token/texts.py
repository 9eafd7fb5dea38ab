"""Texts on which tokenizers differ. All of them made for this purpose."""

WORDS = [
    "The quick brown fox jumps over the lazy dog.", "Hello, WORLD! It's 3:45pm, isn't it?",
    "unaffable re-ranking tokenization's e-mail@example.org http://example.org/a?b=c&d=%20#x",
    "", " ", "\t\r\n \x0b\x0c", "a", "A.", "...", "!?!?", "1234567890 3.14159 1,000,000 $5 5€ £3 ¥2",
    "snake_case camelCase kebab-case `code` ^caret~ |pipe| <tag> a+b=c {x} [y] \\z\\ /w/",
]

SPECIALS = [
    "[CLS] a [SEP] b [SEP]", "x[SEP]y", "[sep] [Sep]", "[SEP][SEP][PAD][MASK][UNK][CLS]", "[SEP", "[[SEP]]",
    "[ SEP ]", "[SE\u0301P]", "[SEP]\u0301a", "a [SEPARATE] b[SEPARATE", "<one> x<one> <one>x x <one> x é<one>",
    "_<one> .<one>. \u0301<one> <one>\u200d \u0378<one>", "a   <l>   b", "xab<l> ab<l>x ab<l>", "a   <r>   b", "a   <lr>   b<lr><lr>  <l> <r>  <l>",
    "a\u3000\u3000 \u3000 \u3000 b", "\u3000 <r>\u3000 \u3000 <l>", "中 x中 中x .中.", "cafe CAFÉ Café cafe\u0301 xcaféx",
    "in New York and  NEW YORK new  york newyork", "éé ÉÉ ÉÉÉ x éé. eee ee", "a≠b a = b a≠ b x ≠  y", "q aq q. Q qq",
    "##ing ##", "# #ing", "the##ing",
]

SCRIPTS = [
    "中文字符測試", "日本語のテキスト、カタカナとひらがな。", "混合mixed文字text中", "㐀䶿一龥豈頻𠀀𪛖𪜀𫝀𫠠𬺰𰀀㈱㌔",
    "한국어 텍스트 하한글", "\u1112\u1161\u11ab \u1100\u1161 ㅎㅏㄴ", "العربية مَرْحَبًا لا ١٢٣٪", "עברית שָׁלוֹם שׁ ﬡﬠ",
    "ภาษาไทย กำลัง น้ำ", "हिन्दी क्षि नमस्ते।", "বাংলা தமிழ் తెలుగు ಕನ್ನಡ മലയാളം සිංහල", "Ελληνικά Άέήίόύώ ΐΰ ς Σ ΣΑΣ",
    "Русский Ёлка й Й жЖ", "ქართული ᲐᲑ հայերեն և", "አማርኛ ᏣᎳᎩ ꭰꭱ ᚠᚢ ᠮᠣᠩ", "Việt Nam ỡ ặ ế Ữ", "İstanbul ISPARTA ıi İi\u0307",
    "ſtraße ẞ ß ŉ ǰ ﬁ ﬂ ﬀ ﬃ ĳ Ǆ ǅ", "Ａｂｃ１２３　！？", "𝐀𝐁𝐚 𝔸𝔹 𝒜 𝟘𝟙 ℌ ℵ Å Å K Ω", "①②⑩ Ⅳ ⅳ ½ ¼ ² ₂ ª º ™ ©",
    "𐐀𐐨 𞤀𞤢 𐲀 𑢠 𖹀 Ა Ꟁ ꟍ Ɤ", "Ⱥ ⱦ Ɐ Ɱ ẞ K ℩",
]

MARKS = [
    "e\u0301 é É E\u0301 e\u0301\u0301\u0301", "\u0301", " \u0301 ", "\u0301a", "a\u0315\u0300\u05ae\u0062",
    "a\u0327\u0301 a\u0301\u0327 ạ\u0302", "a\u302e\u302f a\u302f\u302e", "a\u302e\u0301\u302f\u034f\u302e",
    "a\U0001d16d\U0001d165 a\U0001d16d\u034f\U0001d165 a\U0001d16d\u200b\U0001d165 a\U0001d16d\u0301\U0001d165",
    "\U0001d165\U0001d16d x\U0001d16d\U0001d165 \U0001d15e\U0001d160", "が か\u3099 ゙ ゚ハ\u309a", "\u0958\u0929 क\u093c",
    "a\u0345\u0314 ᾳ ᾼ ῷ", "\u0344 \u0340 \u0374 \u037e \u1fef", "≠ = \u0338 ≮ ∤ ⊄", "Z\u0351\u036b\u0343a\u0339l\u0334g\u0337o\u0321",
    "a" + "\u0301" * 300, "a" + "\u302e\u302f" * 60, "x" + "\u302f\u302e" * 49 + " " + "x" + "\u302f\u302e" * 50, "\u20dd a\u20dd ا\u0670",
]

SYMBOLS = [
    "😀 👍🏽 👩‍👩‍👧‍👦 👨🏿‍⚕️ 🏳️‍🌈", "🇩🇪🇫🇷 🇺", "#️⃣ 1️⃣ ☺️ ☺︎ ❤", "→ ∀x∈ℝ: ⌈x⌉ ∑ √2 ± × ÷", "«a» “b” ‘c’ „d‟ —e– …f·g¿h¡i§j¶k†",
    "،a؛b؟c ۔ ।d॥ ᠃ ། ፡ ٪ ־ ׀", "⸺ ⸻ ⹀ ⹃ ⹒ 、。〈〉【】〜 ・ ﹏ ＿ ｡", "𐄀 𐎟 𑁇 𑈺 𛲟 𞥞 𖺗", "° ¨ ´ ` ˆ ˜ ¯ ¸ ^", "㎏ ℃ № ℡ ㏒ 🅰 🄰",
]

INVISIBLE = [
    "a\u200bb a\u200cb a\u200db a\u2060b a\ufeffb \ufeffstart", "a\u00adb so\u00adft", "a\x00b \x00 \x01\x02a\x1f\x7f\x80\x9fb", "a\ufffdb \ufffd",
    "a\x85b a\x0bb a\x0cb a\x1cb a\x1db", "a\u00a0b a\u1680b a\u2000b a\u2003b a\u2009b a\u202fb a\u205fb a\u3000b", "a\u2028b\u2029c",
    "\u200fעברית\u200e abc \u202eabc\u202c \u2066x\u2069", "a\u180eb a\u061cb a\u070fb", "\ue000 a\ue000b \uf8ff \U000f0000 \U0010fffd", "\u0378 a\u0378b \U000e0080 \u0380",
    "\ufdd0 \uffff \U0001ffff \U0010ffff a\uffffb", "\U000e0041\U000e007f a\U000e0001b", "a\ufe0fb \ufe00 \U000e0100", "\u115f\u1160 \u3164 \uffa0", "\u034f a\u034fb",
    "\ud7a4 \ud7ff \ue001", "\U0001bca0 \U000110bd \u0600\u0605 \u06dd",
]

LENGTHS = [
    "a" * 99, "a" * 100, "a" * 101, "é" * 100, "é" * 101, "e\u0301" * 100, "中" * 150, "x" * 10000, "the" * 33 + "s", "the" * 34,
    "한" * 33 + "a", "한" * 34, "한" * 50 + " 한" * 2, "." * 200, "a" * 100 + "." + "b" * 101 + " ok", ("ab" * 50 + " ") * 3, "\u0130" * 99, "\u0130" * 100,
    "Q" * 9999 + " the end", "word " * 300, "a\u200b" * 100, "a\u200b" * 101, "😀" * 100, "😀" * 101, "ab." * 50, "z" * 100 + "\u0301", "z" * 100 + "\u0301z",
]

MIXED = [
    "Ünïcödé — “naïve” café’s façade, 50 °C; 東京タワーは333mです。 привет, мир! 🙂", "line one\nline two\r\n\ttabbed  double",
    "Straße №5, İzmir/TÜRKİYE (ığdır)", "f\u200bo\u200co\u200d b\u00ada\u2060r", "a1b2c3 ①x½y", "x²+y²=z² ∴ α≈β", "C++ C# .NET 3D T-shirt 24/7 A/B",
    "ﷺ ﷽ ﬁﬂ", "…。．·•‧", "the\u2028quick\u2029brown\x85fox\u3000jumps",
]

TEXTS = WORDS + SPECIALS + SCRIPTS + MARKS + SYMBOLS + INVISIBLE + LENGTHS + MIXED

PAIRS = [
    ["what is a reranker", "A reranker orders passages by how well they answer a query."], ["", ""], ["a", ""], ["", "b"], ["[SEP]", "[CLS] x"],
    ["how far is the moon", "月までの距離は約38万キロメートルです。"], [" ", "\u0301"], ["x" * 101, "the quick"], ["\u0301 a", "İ e\u0301"],
]
