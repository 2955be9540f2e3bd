local heap = require "waddle.heap"

describe("a heap of due times", function()
  -- A heap of n numbers with due times by chance, many of them equal, and the same as a table.
  local function filled(n)
    local h, due_of = heap.new(), {}
    for id = 1, n do
      due_of[id] = math.random(1, n // 2)
      h:push(id, due_of[id])
    end
    return h, due_of
  end

  local function is_what_is_left(h, due_of)
    local last, left = -math.huge, 0
    for _ in pairs(due_of) do left = left + 1 end
    assert.equal(left, h.n)
    while h.n > 0 do
      local id, due = h:first()
      assert.equal(due_of[id], due)
      assert.is_true(due >= last)
      last, due_of[id] = due, nil
      h:pop()
    end
    assert.is_nil((next(due_of)))
  end

  for _, count in ipairs {0, 1, 2, 20, 31, 100, 400, 500} do
    it(("is in order without %d of 500"):format(count), function()
      for _ = 1, 20 do
        local h, due_of = filled(500)
        local gone, n = {[1000] = true}, 0 -- one that is not in it
        while n < count do
          local id = math.random(1, 500)
          n = n + (gone[id] and 0 or 1)
          gone[id], due_of[id] = true, nil
        end
        h:remove(gone, count)
        is_what_is_left(h, due_of)
      end
    end)
  end
end)
