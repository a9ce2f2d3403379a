"""What a user writes without edge-agent: paho with its defaults, ONNX Runtime int8, all in ``on_message``.

    python -m tests.benchmarks.user_script PORT MODEL.onnx BUNDLE

Answers ``{"text": "…"}`` on ``script/in`` with ``{"intent": "…", "confidence": 0.97}`` on ``script/out``. It
is as tutorials have it and no worse, on one thread of ONNX Runtime, since it is measured on one core.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from tokenizers import BertWordPieceTokenizer

IN_TOPIC, OUT_TOPIC, READY_TOPIC = "script/in", "script/out", "script/ready"


def main(port: int, model: Path, bundle: Path) -> None:
    manifest = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    labels = manifest["labels"]
    tokenizer = BertWordPieceTokenizer(str(bundle / manifest["tokenizer"]["vocabulary"]), lowercase=True)
    tokenizer.enable_truncation(128)
    tokenizer.enable_padding(length=128)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    def on_connect(client: mqtt.Client, *_: Any) -> None:
        client.subscribe(IN_TOPIC, qos=1)
        client.publish(READY_TOPIC, "ready", qos=1, retain=True)

    def on_message(client: mqtt.Client, userdata: Any, message: mqtt.MQTTMessage) -> None:
        text = json.loads(message.payload)["text"]
        encoded = tokenizer.encode(text)
        inputs = {
            "input_ids": np.array([encoded.ids], np.int64),
            "attention_mask": np.array([encoded.attention_mask], np.int64),
        }
        logits = session.run(["label_logits"], inputs)[0][0]
        probabilities = np.exp(logits - logits.max())
        probabilities /= probabilities.sum()
        best = int(probabilities.argmax())
        answer = {"intent": labels[best], "confidence": float(probabilities[best])}
        client.publish(OUT_TOPIC, json.dumps(answer), qos=1)

    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_connect = on_connect
    client.on_message = on_message
    client.connect("127.0.0.1", port)
    client.loop_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
