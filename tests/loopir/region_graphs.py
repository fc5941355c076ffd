"""Graphs with loops and branches, as text."""

GRAPHS: dict[str, str] = {}

GRAPHS["sum of a counter"] = """
graph f(%x: f64[]) {
  %y: f64[] = for(%x) {lo=0, hi=10, step=1}
    (%i: i64[], %c: f64[]) {
      %k: f64[] = cast(%i) {dtype=f64}
      %d: f64[] = add(%c, %k)
      yield %d
    }
  return %y
}
"""

GRAPHS["fibonacci"] = """
graph f(%x: f64[], %y: f64[]) {
  %a: f64[], %b: f64[] = for(%x, %y) {lo=0, hi=7, step=1}
    (%i: i64[], %p: f64[], %q: f64[]) {
      %r: f64[] = add(%p, %q)
      yield %q, %r
    }
  return %a, %b
}
"""

GRAPHS["swap of arrays"] = """
graph f(%x: f64[5], %y: f64[5]) {
  %a: f64[5], %b: f64[5] = for(%x, %y) {lo=0, hi=5, step=1}
    (%i: i64[], %p: f64[5], %q: f64[5]) {
      %e: f64[1] = slice(%p) {starts=(%i,), sizes=(1,), steps=(1,)}
      %r: f64[5] = add_slice(%p, %e) {starts=(-%i + 4,), steps=(1,)}
      yield %q, %r
    }
  return %a, %b
}
"""

GRAPHS["rotation of three"] = """
graph f(%x: f64[3], %y: f64[3], %z: f64[3]) {
  %a: f64[3], %b: f64[3], %c: f64[3] = for(%x, %y, %z) {lo=0, hi=4, step=1}
    (%i: i64[], %p: f64[3], %q: f64[3], %r: f64[3]) {
      %s: f64[3] = add(%p, %q)
      yield %q, %r, %s
    }
  return %a, %b, %c
}
"""

GRAPHS["seidel"] = """
graph f(%A: f64[7,7]) {
  %c: f64[] = constant() {value=f64[] 9.0}
  %R: f64[7,7] = for(%A) {lo=0, hi=3, step=1}
    (%t: i64[], %A1: f64[7,7]) {
      %B: f64[7,7] = for(%A1) {lo=1, hi=6, step=1}
        (%i: i64[], %A2: f64[7,7]) {
          %C: f64[7,7] = for(%A2) {lo=1, hi=6, step=1}
            (%j: i64[], %A3: f64[7,7]) {
              %n: f64[1,1] = slice(%A3) {starts=(%i - 1, %j), sizes=(1, 1), steps=(1, 1)}
              %s: f64[1,1] = slice(%A3) {starts=(%i + 1, %j), sizes=(1, 1), steps=(1, 1)}
              %w: f64[1,1] = slice(%A3) {starts=(%i, %j - 1), sizes=(1, 1), steps=(1, 1)}
              %e: f64[1,1] = slice(%A3) {starts=(%i, %j + 1), sizes=(1, 1), steps=(1, 1)}
              %m: f64[1,1] = slice(%A3) {starts=(%i, %j), sizes=(1, 1), steps=(1, 1)}
              %n0: f64[] = reshape(%n) {shape=()}
              %s0: f64[] = reshape(%s) {shape=()}
              %w0: f64[] = reshape(%w) {shape=()}
              %e0: f64[] = reshape(%e) {shape=()}
              %m0: f64[] = reshape(%m) {shape=()}
              %v1: f64[] = add(%n0, %s0)
              %v2: f64[] = add(%v1, %w0)
              %v3: f64[] = add(%v2, %e0)
              %v4: f64[] = add(%v3, %m0)
              %v5: f64[] = divide(%v4, %c)
              %v6: f64[1,1] = reshape(%v5) {shape=(1, 1)}
              %D: f64[7,7] = set_slice(%A3, %v6) {starts=(%i, %j), steps=(1, 1)}
              yield %D
            }
          yield %C
        }
      yield %B
    }
  return %R
}
"""

GRAPHS["jacobi by slices"] = """
graph f(%A: f64[8,9]) {
  %c: f64[] = constant() {value=f64[] 0.25}
  %R: f64[8,9] = for(%A) {lo=0, hi=4, step=1}
    (%t: i64[], %A1: f64[8,9]) {
      %n: f64[6,7] = slice(%A1) {starts=(0, 1), sizes=(6, 7), steps=(1, 1)}
      %s: f64[6,7] = slice(%A1) {starts=(2, 1), sizes=(6, 7), steps=(1, 1)}
      %w: f64[6,7] = slice(%A1) {starts=(1, 0), sizes=(6, 7), steps=(1, 1)}
      %e: f64[6,7] = slice(%A1) {starts=(1, 2), sizes=(6, 7), steps=(1, 1)}
      %v1: f64[6,7] = add(%n, %s)
      %v2: f64[6,7] = add(%v1, %w)
      %v3: f64[6,7] = add(%v2, %e)
      %v4: f64[6,7] = multiply(%v3, %c)
      %D: f64[8,9] = set_slice(%A1, %v4) {starts=(1, 1), steps=(1, 1)}
      yield %D
    }
  return %R
}
"""

GRAPHS["old version read after the update"] = """
graph f(%x: f64[6]) {
  %y: f64[6], %z: f64[6] = for(%x, %x) {lo=0, hi=6, step=1}
    (%i: i64[], %a: f64[6], %b: f64[6]) {
      %e: f64[1] = slice(%a) {starts=(%i,), sizes=(1,), steps=(1,)}
      %e2: f64[1] = multiply(%e, %e)
      %a2: f64[6] = set_slice(%a, %e2) {starts=(%i,), steps=(1,)}
      %b2: f64[6] = add(%a, %b)
      yield %a2, %b2
    }
  return %y, %z
}
"""

GRAPHS["captured array is not overwritten"] = """
graph f(%x: f64[6]) {
  %w: f64[6] = exp(%x)
  %y: f64[6] = for(%x) {lo=0, hi=6, step=1}
    (%i: i64[], %a: f64[6]) {
      %e: f64[1] = slice(%a) {starts=(%i,), sizes=(1,), steps=(1,)}
      %u: f64[6] = add_slice(%w, %e) {starts=(%i,), steps=(1,)}
      %b: f64[6] = add(%a, %u)
      yield %b
    }
  return %y
}
"""

GRAPHS["cholesky by dot products"] = """
graph f(%A: f64[6,6]) {
  %L: f64[6,6] = for(%A) {lo=0, hi=6, step=1}
    (%i: i64[], %A1: f64[6,6]) {
      %A2: f64[6,6] = for(%A1) {lo=0, hi=%i, step=1}
        (%j: i64[], %B: f64[6,6]) {
          %p: f64[1,%j] = slice(%B) {starts=(%i, 0), sizes=(1, %j), steps=(1, 1)}
          %q: f64[1,%j] = slice(%B) {starts=(%j, 0), sizes=(1, %j), steps=(1, 1)}
          %p1: f64[%j] = reshape(%p) {shape=(%j,)}
          %q1: f64[%j] = reshape(%q) {shape=(%j,)}
          %d: f64[] = einsum(%p1, %q1) {spec="k,k->"}
          %a: f64[1,1] = slice(%B) {starts=(%i, %j), sizes=(1, 1), steps=(1, 1)}
          %a0: f64[] = reshape(%a) {shape=()}
          %l: f64[1,1] = slice(%B) {starts=(%j, %j), sizes=(1, 1), steps=(1, 1)}
          %l0: f64[] = reshape(%l) {shape=()}
          %r: f64[] = subtract(%a0, %d)
          %r1: f64[] = divide(%r, %l0)
          %r2: f64[1,1] = reshape(%r1) {shape=(1, 1)}
          %C: f64[6,6] = set_slice(%B, %r2) {starts=(%i, %j), steps=(1, 1)}
          yield %C
        }
      %p2: f64[1,%i] = slice(%A2) {starts=(%i, 0), sizes=(1, %i), steps=(1, 1)}
      %p3: f64[%i] = reshape(%p2) {shape=(%i,)}
      %d1: f64[] = einsum(%p3, %p3) {spec="k,k->"}
      %a1: f64[1,1] = slice(%A2) {starts=(%i, %i), sizes=(1, 1), steps=(1, 1)}
      %a2: f64[] = reshape(%a1) {shape=()}
      %r3: f64[] = subtract(%a2, %d1)
      %r4: f64[] = sqrt(%r3)
      %r5: f64[1,1] = reshape(%r4) {shape=(1, 1)}
      %D: f64[6,6] = set_slice(%A2, %r5) {starts=(%i, %i), steps=(1, 1)}
      yield %D
    }
  return %L
}
"""

GRAPHS["downwards with step 2"] = """
graph f(%x: f64[9]) {
  %y: f64[9] = for(%x) {lo=8, hi=0, step=-2}
    (%i: i64[], %a: f64[9]) {
      %e: f64[1] = slice(%a) {starts=(%i,), sizes=(1,), steps=(1,)}
      %s: f64[%i] = slice(%a) {starts=(0,), sizes=(%i,), steps=(1,)}
      %t: f64[%i] = add(%s, %e)
      %b: f64[9] = set_slice(%a, %t) {starts=(1,), steps=(1,)}
      yield %b
    }
  return %y
}
"""

GRAPHS["no iteration"] = """
graph f(%x: f64[4], %n: i64[]) {
  %a: f64[4] = for(%x) {lo=5, hi=5, step=1}
    (%i: i64[], %p: f64[4]) {
      %q: f64[4] = exp(%p)
      yield %q
    }
  %b: f64[4] = for(%a) {lo=%n + 3, hi=%n, step=1}
    (%j: i64[], %r: f64[4]) {
      %s: f64[4] = exp(%r)
      yield %s
    }
  %c: f64[4] = add(%b, %a)
  return %c
}
"""

GRAPHS["traced bounds and a tape in the heap"] = """
graph f(%x: f64[], %n: i64[]) {
  %z: f64[%n] = empty() {shape=(%n,), dtype=f64}
  %y: f64[], %tape: f64[%n] = for(%x, %z) {lo=0, hi=%n, step=1}
    (%i: i64[], %a: f64[], %t: f64[%n]) {
      %a1: f64[1] = reshape(%a) {shape=(1,)}
      %t1: f64[%n] = set_slice(%t, %a1) {starts=(%i,), steps=(1,)}
      %b: f64[] = sin(%a)
      yield %b, %t1
    }
  %g: f64[] = for(%y) {lo=%n - 1, hi=-1, step=-1}
    (%j: i64[], %h: f64[]) {
      %v: f64[1] = slice(%tape) {starts=(%j,), sizes=(1,), steps=(1,)}
      %v0: f64[] = reshape(%v) {shape=()}
      %w: f64[] = cos(%v0)
      %u: f64[] = multiply(%h, %w)
      yield %u
    }
  return %y, %g
}
"""

GRAPHS["newton by while"] = """
graph f(%x: f64[]) {
  %one: f64[] = constant() {value=f64[] 1.0}
  %half: f64[] = constant() {value=f64[] 0.5}
  %eps: f64[] = constant() {value=f64[] 1e-10}
  %zero: i64[] = constant() {value=i64[] 0}
  %inc: i64[] = constant() {value=i64[] 1}
  %r: f64[], %k: i64[] = while(%one, %zero)
    (%y: f64[], %n: i64[]) {
      %s: f64[] = multiply(%y, %y)
      %d: f64[] = subtract(%s, %x)
      %e: f64[] = absolute(%d)
      %go: bool[] = greater(%e, %eps)
      yield %go
    }
    (%y1: f64[], %n1: i64[]) {
      %q: f64[] = divide(%x, %y1)
      %t: f64[] = add(%y1, %q)
      %u: f64[] = multiply(%t, %half)
      %m: i64[] = add(%n1, %inc)
      yield %u, %m
    }
  return %r, %k
}
"""

GRAPHS["while walks an array"] = """
graph f(%x: f64[8]) {
  %zero: i64[] = constant() {value=i64[] 0}
  %inc: i64[] = constant() {value=i64[] 1}
  %seven: i64[] = constant() {value=i64[] 7}
  %y: f64[8], %k: i64[] = while(%x, %zero)
    (%a: f64[8], %n: i64[]) {
      %go: bool[] = less(%n, %seven)
      yield %go
    }
    (%b: f64[8], %m: i64[]) {
      %w: i64[] = wrap_index(%m) {extent=7, check=True}
      %e: f64[1] = slice(%b) {starts=(%w,), sizes=(1,), steps=(1,)}
      %c: f64[8] = add_slice(%b, %e) {starts=(%w + 1,), steps=(1,)}
      %m1: i64[] = add(%m, %inc)
      yield %c, %m1
    }
  return %y, %k
}
"""

GRAPHS["checked index"] = """
graph f(%x: f64[6], %idx: i64[4]) {
  %y: f64[6] = for(%x) {lo=0, hi=4, step=1}
    (%i: i64[], %a: f64[6]) {
      %k1: i64[1] = slice(%idx) {starts=(%i,), sizes=(1,), steps=(1,)}
      %k: i64[] = reshape(%k1) {shape=()}
      %w: i64[] = wrap_index(%k) {extent=6, check=True}
      %e: f64[1] = slice(%a) {starts=(%w,), sizes=(1,), steps=(1,)}
      %e2: f64[1] = add(%e, %e)
      %b: f64[6] = set_slice(%a, %e2) {starts=(%w,), steps=(1,)}
      yield %b
    }
  return %y
}
"""

GRAPHS["branch that updates an array"] = """
graph f(%x: f64[6], %t: f64[]) {
  %y: f64[6] = for(%x) {lo=0, hi=6, step=1}
    (%i: i64[], %a: f64[6]) {
      %e1: f64[1] = slice(%a) {starts=(%i,), sizes=(1,), steps=(1,)}
      %e: f64[] = reshape(%e1) {shape=()}
      %p: bool[] = greater(%e, %t)
      %b: f64[6] = cond(%p)
        () {
          %d: f64[] = multiply(%e, %t)
          %d1: f64[1] = reshape(%d) {shape=(1,)}
          %c: f64[6] = set_slice(%a, %d1) {starts=(%i,), steps=(1,)}
          yield %c
        }
        () {
          yield %a
        }
      yield %b
    }
  return %y
}
"""

GRAPHS["branch of numbers and arrays"] = """
graph f(%x: f64[5], %y: f64[5], %p: bool[]) {
  %s: f64[] = reduce_sum(%x) {axes=(0,)}
  %a: f64[5], %b: f64[], %c: f64[5] = cond(%p)
    () {
      %u: f64[5] = exp(%x)
      yield %u, %s, %y
    }
    () {
      %v: f64[] = negative(%s)
      yield %x, %v, %y
    }
  %d: f64[5] = add(%a, %c)
  return %d, %b, %a
}
"""

GRAPHS["switch"] = """
graph f(%x: f64[5], %n: i64[5]) {
  %z: f64[] = constant() {value=f64[] 0.0}
  %y: f64[] = for(%z) {lo=0, hi=5, step=1}
    (%i: i64[], %c: f64[]) {
      %e1: f64[1] = slice(%x) {starts=(%i,), sizes=(1,), steps=(1,)}
      %e: f64[] = reshape(%e1) {shape=()}
      %k1: i64[1] = slice(%n) {starts=(%i,), sizes=(1,), steps=(1,)}
      %k: i64[] = reshape(%k1) {shape=()}
      %d: f64[] = switch(%k)
        () {
          yield %e
        }
        () {
          %s: f64[] = sin(%e)
          yield %s
        }
        () {
          %t: f64[] = add(%e, %c)
          yield %t
        }
      %c1: f64[] = add(%c, %d)
      yield %c1
    }
  return %y
}
"""

GRAPHS["exchange in a branch"] = """
graph f(%x: f64[4], %y: f64[4], %p: bool[]) {
  %x1: f64[4] = exp(%x)
  %y1: f64[4] = sin(%y)
  %a: f64[4], %b: f64[4] = for(%x1, %y1) {lo=0, hi=3, step=1}
    (%i: i64[], %q: f64[4], %r: f64[4]) {
      %u: f64[4], %v: f64[4] = cond(%p)
        () {
          yield %r, %q
        }
        () {
          %w: f64[4] = add(%q, %r)
          yield %w, %r
        }
      yield %u, %v
    }
  return %a, %b
}
"""

GRAPHS["temporary whose extent is a loop index"] = """
graph f(%x: f64[7]) {
  %z: f64[] = constant() {value=f64[] 0.0}
  %y: f64[] = for(%z) {lo=1, hi=7, step=1}
    (%i: i64[], %c: f64[]) {
      %s: f64[%i] = slice(%x) {starts=(0,), sizes=(%i,), steps=(1,)}
      %t: f64[%i] = cumsum(%s) {axis=0, reverse=False}
      %u: f64[%i] = slice(%t) {starts=(%i - 1,), sizes=(%i,), steps=(-1,)}
      %v: f64[%i] = multiply(%u, %t)
      %m: f64[] = reduce_max(%t) {axes=(0,)}
      %w: f64[] = reduce_sum(%v) {axes=(0,)}
      %d: f64[] = add(%c, %w)
      %e: f64[] = add(%d, %m)
      yield %e
    }
  return %y
}
"""

GRAPHS["matrices whose extents are loop indices"] = """
graph f(%x: f64[6,6]) {
  %y: f64[6,6] = for(%x) {lo=2, hi=6, step=1}
    (%i: i64[], %a: f64[6,6]) {
      %s: f64[%i,%i - 1] = slice(%a) {starts=(0, 1), sizes=(%i, %i - 1), steps=(1, 1)}
      %t: f64[%i - 1,%i] = transpose(%s) {perm=(1, 0)}
      %p: f64[%i,%i] = einsum(%s, %t) {spec="ij,jk->ik"}
      %q: f64[%i] = reduce_sum(%p) {axes=(0,)}
      %q1: f64[%i,1] = reshape(%q) {shape=(%i, 1)}
      %r: f64[%i,%i] = divide(%p, %q1)
      %b: f64[6,6] = add_slice(%a, %r) {starts=(0, 0), steps=(1, 1)}
      yield %b
    }
  return %y
}
"""

GRAPHS["row times matrix in a loop"] = """
graph f(%x: f64[40], %w: f64[40,40]) {
  %y: f64[40] = for(%x) {lo=0, hi=3, step=1}
    (%i: i64[], %h: f64[40]) {
      %a: f64[40] = einsum(%w, %h) {spec="ij,j->i"}
      %b: f64[40] = tanh(%a)
      yield %b
    }
  return %y
}
"""

GRAPHS["library call in a loop"] = """
graph f(%x: f64[64,64]) {
  %y: f64[64,64] = for(%x) {lo=0, hi=3, step=1}
    (%i: i64[], %a: f64[64,64]) {
      %p: f64[64,64] = einsum(%a, %a) {spec="ij,jk->ik"}
      %s: f64[] = reduce_sum(%p) {axes=(0, 1)}
      %q: f64[64,64] = divide(%p, %s)
      yield %q
    }
  return %y
}
"""

GRAPHS["in place where elements line up"] = """
graph f(%x: f64[9], %y: f64[9]) {
  %a: f64[9] = for(%x) {lo=0, hi=4, step=1}
    (%i: i64[], %p: f64[9]) {
      %s: f64[5] = slice(%p) {starts=(%i,), sizes=(5,), steps=(1,)}
      %t: f64[5] = slice(%y) {starts=(%i,), sizes=(5,), steps=(1,)}
      %u: f64[5] = multiply(%s, %t)
      %v: f64[5] = exp(%u)
      %q: f64[9] = set_slice(%p, %v) {starts=(%i,), steps=(1,)}
      %s1: f64[5] = slice(%q) {starts=(%i,), sizes=(5,), steps=(1,)}
      %q1: f64[9] = set_slice(%q, %s1) {starts=(%i + 1,), steps=(1,)}
      yield %q1
    }
  return %a
}
"""

GRAPHS["nested carries"] = """
graph f(%x: f64[4,5], %n: i64[]) {
  %z: f64[] = constant() {value=f64[] 0.0}
  %k0: i64[] = constant() {value=i64[] 0}
  %one: i64[] = constant() {value=i64[] 1}
  %s: f64[], %k: i64[] = for(%z, %k0) {lo=0, hi=4, step=1}
    (%i: i64[], %c: f64[], %m: i64[]) {
      %d: f64[], %m2: i64[] = for(%c, %m) {lo=%i, hi=5, step=1}
        (%j: i64[], %e: f64[], %m1: i64[]) {
          %v1: f64[1,1] = slice(%x) {starts=(%i, %j), sizes=(1, 1), steps=(1, 1)}
          %v: f64[] = reshape(%v1) {shape=()}
          %w: f64[] = multiply(%e, %v)
          %u: f64[] = add(%w, %v)
          %m3: i64[] = add(%m1, %one)
          yield %u, %m3
        }
      yield %d, %m2
    }
  return %s, %k
}
"""

GRAPHS["columns of matrices"] = """
graph f(%x: f64[40,30], %w: f64[40,30]) {
  %z: f64[] = constant() {value=f64[] 0.0}
  %y: f64[40,30], %s: f64[] = for(%x, %z) {lo=0, hi=30, step=1}
    (%i: i64[], %a: f64[40,30], %t: f64[]) {
      %b: f64[40,30], %u: f64[] = for(%a, %t) {lo=%i + 1, hi=30, step=1}
        (%j: i64[], %c: f64[40,30], %v: f64[]) {
          %p: f64[40,1] = slice(%c) {starts=(0, %i), sizes=(40, 1), steps=(1, 1)}
          %q: f64[40,1] = slice(%c) {starts=(0, %j), sizes=(40, 1), steps=(1, 1)}
          %r: f64[40,1] = slice(%w) {starts=(0, %j), sizes=(40, 1), steps=(1, 1)}
          %p1: f64[40] = reshape(%p) {shape=(40,)}
          %q1: f64[40] = reshape(%q) {shape=(40,)}
          %d: f64[] = einsum(%p1, %q1) {spec="k,k->"}
          %e: f64[] = tanh(%d)
          %f: f64[40,1] = multiply(%p, %e)
          %g: f64[40,1] = multiply(%f, %r)
          %h: f64[40,1] = add(%q, %g)
          %k: f64[40,1] = sin(%h)
          %l: f64[40,30] = set_slice(%c, %k) {starts=(0, %j), steps=(1, 1)}
          %m: f64[] = add(%v, %d)
          yield %l, %m
        }
      yield %b, %u
    }
  return %y, %s
}
"""

GRAPHS["adjoint of a stencil"] = """
graph f(%g: f64[12,14], %h: f64[12,14]) {
  %c: f64[] = constant() {value=f64[] 0.2}
  %z: f64[] = constant() {value=f64[] 0.0}
  %a: f64[12,14], %b: f64[12,14] = for(%g, %h) {lo=0, hi=3, step=1}
    (%i: i64[], %p: f64[12,14], %q: f64[12,14]) {
      %t: f64[10,12] = slice(%p) {starts=(1, 1), sizes=(10, 12), steps=(1, 1)}
      %u: f64[10,12] = multiply(%t, %c)
      %o: f64[10,12] = broadcast_to(%z) {shape=(10, 12)}
      %p1: f64[12,14] = set_slice(%p, %o) {starts=(1, 1), steps=(1, 1)}
      %q1: f64[12,14] = add_slice(%q, %u) {starts=(1, 1), steps=(1, 1)}
      %q2: f64[12,14] = add_slice(%q1, %u) {starts=(0, 1), steps=(1, 1)}
      %q3: f64[12,14] = add_slice(%q2, %u) {starts=(2, 1), steps=(1, 1)}
      %q4: f64[12,14] = add_slice(%q3, %u) {starts=(1, 0), steps=(1, 1)}
      %q5: f64[12,14] = add_slice(%q4, %u) {starts=(1, 2), steps=(1, 1)}
      yield %q5, %p1
    }
  return %a, %b
}
"""

GRAPHS["adjoint of a stencil along one axis"] = """
graph f(%g: f64[40], %h: f64[40], %w: f64[33]) {
  %t: f64[33] = slice(%g) {starts=(3,), sizes=(33,), steps=(1,)}
  %u: f64[33] = multiply(%t, %w)
  %h1: f64[40] = add_slice(%h, %u) {starts=(0,), steps=(1,)}
  %h2: f64[40] = add_slice(%h1, %t) {starts=(7,), steps=(1,)}
  %h3: f64[40] = add_slice(%h2, %u) {starts=(2,), steps=(1,)}
  %h4: f64[40] = add_slice(%h3, %w) {starts=(2,), steps=(1,)}
  return %h4
}
"""

GRAPHS["sums that may meet"] = """
graph f(%x: f64[9], %y: f64[9]) {
  %a: f64[9] = for(%y) {lo=8, hi=-1, step=-1}
    (%i: i64[], %p: f64[9]) {
      %b: f64[9] = for(%p) {lo=8, hi=-1, step=-1}
        (%j: i64[], %q: f64[9]) {
          %e: f64[1] = slice(%x) {starts=(%i,), sizes=(1,), steps=(1,)}
          %f: f64[1] = slice(%x) {starts=(%j,), sizes=(1,), steps=(1,)}
          %d: f64[1] = subtract(%e, %f)
          %d2: f64[1] = sin(%d)
          %n: f64[1] = negative(%d2)
          %q1: f64[9] = add_slice(%q, %d2) {starts=(%i,), steps=(1,)}
          %q2: f64[9] = add_slice(%q1, %n) {starts=(%j,), steps=(1,)}
          yield %q2
        }
      yield %b
    }
  return %a
}
"""

GRAPHS["dot products with columns"] = """
graph f(%x: f64[24,24]) {
  %y: f64[24,24] = for(%x) {lo=1, hi=24, step=1}
    (%i: i64[], %a: f64[24,24]) {
      %b: f64[24,24] = for(%a) {lo=23, hi=%i - 1, step=-1}
        (%j: i64[], %c: f64[24,24]) {
          %p: f64[1,%i] = slice(%c) {starts=(%i, 0), sizes=(1, %i), steps=(1, 1)}
          %q: f64[%i,1] = slice(%c) {starts=(0, %j), sizes=(%i, 1), steps=(1, 1)}
          %d: f64[1,1] = einsum(%p, %q) {spec="ij,jk->ik"}
          %s: f64[1,1] = sin(%d)
          %e: f64[24,24] = add_slice(%c, %s) {starts=(%i, %j), steps=(1, 1)}
          yield %e
        }
      yield %b
    }
  return %y
}
"""

GRAPHS["pushed down columns of a triangle"] = """
graph f(%x: f64[24,24], %w: f64[24,24]) {
  %y: f64[24,24] = for(%x) {lo=0, hi=24, step=1}
    (%i: i64[], %a: f64[24,24]) {
      %b: f64[24,24] = for(%a) {lo=%i - 1, hi=-1, step=-1}
        (%j: i64[], %c: f64[24,24]) {
          %v1: f64[1,1] = slice(%c) {starts=(%i, %j), sizes=(1, 1), steps=(1, 1)}
          %v: f64[1,1] = sin(%v1)
          %p: f64[%j,1] = slice(%w) {starts=(0, %i), sizes=(%j, 1), steps=(1, 1)}
          %p1: f64[%j,1] = multiply(%p, %v)
          %d: f64[24,24] = add_slice(%c, %p1) {starts=(0, %j), steps=(1, 1)}
          %q: f64[%j,1] = slice(%w) {starts=(0, %j), sizes=(%j, 1), steps=(1, 1)}
          %q1: f64[%j,1] = multiply(%q, %v)
          %q2: f64[1,%j] = reshape(%q1) {shape=(1, %j)}
          %e: f64[24,24] = add_slice(%d, %q2) {starts=(%i, 0), steps=(1, 1)}
          yield %e
        }
      yield %b
    }
  return %y
}
"""
