"""The surface forms of canonical slot values, English and Spanish, as patterns over folded text."""

from __future__ import annotations

UNITS = {
    "hours": r"(?:hours?|hrs?|horas?)",
    "minutes": r"(?:minutes?|mins?|minutos?)",
    "seconds": r"(?:seconds?|secs?|segundos?)",
}
LARGER_UNIT = {"minutes": UNITS["hours"], "seconds": UNITS["minutes"]}

COLOURS_ES = {
    "red": "roj[oa]s?",
    "blue": "azul(?:es)?",
    "green": "verdes?",
    "yellow": "amarill[oa]s?",
    "white": "blanc[oa]s?",
    "orange": "naranjas?|anaranjad[oa]s?",
    "purple": "morad[oa]s?|violetas?|purpuras?",
    "pink": "rosas?|rosad[oa]s?",
    "black": "negr[oa]s?",
    "brown": "marron(?:es)?",
    "turquoise": "turquesas?",
}
COLOUR_TEMPERATURES = {
    1900: "candle ?light|(?:luz de )?velas?",
    2700: "warm white|blanco calido",
    4000: "cold white|cool white|blanco frio",
    6500: "day ?light|luz (?:de|del) dia",
}
EXTREMES = {
    100: "(?:the )?(?P<v>maximum|max|highest|brightest|full|maxim[oa]|mas alto|tope)",
    1: "(?:the )?(?P<v>minimum|min|lowest|dimmest|darkest|minim[oa]|mas bajo)",
    0: "(?:the )?(?P<v>minimum|min|lowest|minim[oa])",
}
DIRECTIONS = {
    "up": "up|increase|raise|louder|higher|mas alto|mas fuerte|mas|"
    "(?:sub|aument|increment|alz|elev)(?:[aei]|ar|ir|en|an)",
    "down": "down|decrease|reduce|lower|quieter|softer|menos|mas bajo|"
    "(?:baj|disminu|reduc|atenu)(?:[aeoyi]|ar|ir|en|an|zca|ye|ya)",
}

_STATES_EN = (
    "on|off|open|opened|closed|shut|locked|unlocked|detected|running|charging|low|home|away|connected|"
    "disconnected|wet|dry|unplugged|plugged|moving|stopped|hot|cold|clear|unsafe|safe|occupied|empty|"
    "normal|ajar|active|inactive|triggered|gone|available|charged|drained|full|updated|tampered|jammed|"
    "vibrating|overheating|frozen"
)
_STATES_ES = (
    "encendid[oa]s?|apagad[oa]s?|prendid[oa]s?|abiert[oa]s?|cerrad[oa]s?|bloquead[oa]s?|"
    "desbloquead[oa]s?|detectad[oa]s?|activad[oa]s?|desactivad[oa]s?|activ[oa]s?|inactiv[oa]s?|"
    "conectad[oa]s?|desconectad[oa]s?|enchufad[oa]s?|desenchufad[oa]s?|mojad[oa]s?|humed[oa]s?|"
    "sec[oa]s?|cargando|cargandose|baj[oa]s?|casa|fuera|moviendose|parad[oa]s?|funcionando|caliente|"
    "fri[oa]s?|ocupad[oa]s?|vaci[oa]s?|alimentad[oa]s?|echad[oa]s?|disparad[oa]s?|despejad[oa]s?|"
    "disponibles?|segur[oa]s?|insegur[oa]s?|actualizad[oa]s?|manipulad[oa]s?|vibrando"
)
_STATE_PHRASES = "plugged in|on battery|up to date|en carga|en movimiento|en marcha"
STATES = f"{_STATE_PHRASES}|{_STATES_EN}|{_STATES_ES}"
"""The words that say a state, whatever its canonical name: "open" is the state "on" of a door's sensor."""


def _words(*rows: str) -> list[str]:
    return " ".join(rows).split()


NUMBERS_EN = _words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen",
    "sixteen seventeen eighteen nineteen",
)
NUMBERS_ES = _words(
    "cero un[oa]? dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince",
    "dieciseis diecisiete dieciocho diecinueve veinte",
)
_TENS_EN = _words("twenty thirty forty fifty sixty seventy eighty ninety")
_TENS_ES = _words("veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa cien")
TENS_EN = dict(zip(range(20, 101, 10), [*_TENS_EN, "(?:one |a )?hundred"], strict=True))
TENS_ES = dict(zip(range(20, 101, 10), _TENS_ES, strict=True))
