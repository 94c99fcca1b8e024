"""GPT-NeoX in PyTorch as one would write it for speed: the peer under torch.compile.

Fused query-key-value product, SDPA, parallel residual, rotary on the first quarter of each head, weights as Hugging
Face initialises them.
"""

import torch
import torch.nn.functional as F
from torch import nn

MODELS = {  # layers, hidden, heads, vocab as stored
    "small": (4, 256, 8, 4096),
    "pythia-14m": (6, 128, 4, 50304), "pythia-31m": (6, 256, 8, 50304), "pythia-70m": (6, 512, 8, 50304),
    "pythia-160m": (12, 768, 12, 50304), "pythia-410m": (24, 1024, 16, 50304), "pythia-1b": (16, 2048, 8, 50304),
    "pythia-1.4b": (24, 2048, 16, 50304), "pythia-2.8b": (32, 2560, 32, 50304), "pythia-6.9b": (32, 4096, 32, 50432),
}


class Block(nn.Module):
    def __init__(self, hidden, heads, gelu):
        super().__init__()
        self.heads, self.gelu = heads, gelu
        self.norm_attn, self.norm_mlp = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.qkv, self.dense = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)
        self.up, self.down = nn.Linear(hidden, 4 * hidden), nn.Linear(4 * hidden, hidden)

    def forward(self, x, cos, sin):
        batch, time, hidden = x.shape
        # Per head: query, key, value.
        qkv = self.qkv(self.norm_attn(x)).view(batch, time, self.heads, 3, hidden // self.heads)
        query, key, value = (part.transpose(1, 2) for part in qkv.unbind(3))
        attended = F.scaled_dot_product_attention(rotate(query, cos, sin), rotate(key, cos, sin), value, is_causal=True)
        attended = attended.transpose(1, 2).reshape(batch, time, hidden)
        return x + self.dense(attended) + self.down(F.gelu(self.up(self.norm_mlp(x)), approximate=self.gelu))


def rotate(x, cos, sin):
    """Half-split pairs of the first dimensions of `[B, H, T, D]`."""
    half = cos.shape[-1]
    a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return torch.cat((a * cos - b * sin, b * cos + a * sin, rest), -1)


class NeoX(nn.Module):
    """Loss of tokens and targets `[B, T]`."""

    def __init__(self, layers, hidden, heads, vocab, time, gelu="none"):
        super().__init__()
        self.embed, self.norm = nn.Embedding(vocab, hidden), nn.LayerNorm(hidden)
        self.head = nn.Linear(hidden, vocab, bias=False)
        self.blocks = nn.ModuleList(Block(hidden, heads, gelu) for _ in range(layers))
        rotary = hidden // heads // 4
        angles = torch.outer(torch.arange(time).float(), 10000.0 ** -(torch.arange(0, rotary, 2).float() / rotary))
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens, targets):
        x = self.embed(tokens)
        cos, sin = self.cos.to(x.dtype), self.sin.to(x.dtype)
        for block in self.blocks:
            x = block(x, cos, sin)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.float().view(-1, logits.shape[-1]), targets.reshape(-1))
